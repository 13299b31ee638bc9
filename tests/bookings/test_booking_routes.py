"""Bookings over HTTP: what guests ask for, what staff do with it, and who is told."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.database.pool import Database
from service.domains import bookings
from service.settings import Settings
from tests.support.aliases import Api, Connect
from tests.support.bookings import Restaurant, at
from tests.support.builders import bearer, create_key, create_user, token_of
from tests.support.waits import becomes

# The states, verb by verb: what a verb answers in each, and what a refusal is called.
STATES = {
    "confirm": {
        "pending": (200, "confirmed"),
        "confirmed": (200, "confirmed"),
        "seated": (409, "wrong_state"),
        "declined": (409, "booking_closed"),
        "cancelled": (409, "booking_closed"),
        "finished": (409, "booking_closed"),
        "no_show": (409, "booking_closed"),
    },
    "decline": {
        "pending": (200, "declined"),
        "confirmed": (409, "wrong_state"),
        "seated": (409, "wrong_state"),
        "declined": (200, "declined"),
        "cancelled": (409, "booking_closed"),
        "finished": (409, "booking_closed"),
        "no_show": (409, "booking_closed"),
    },
    "cancel": {
        "pending": (200, "cancelled"),
        "confirmed": (200, "cancelled"),
        "seated": (409, "wrong_state"),
        "declined": (409, "booking_closed"),
        "cancelled": (200, "cancelled"),
        "finished": (409, "booking_closed"),
        "no_show": (409, "booking_closed"),
    },
    "seat": {
        "pending": (409, "wrong_state"),
        "confirmed": (200, "seated"),
        "seated": (200, "seated"),
        "declined": (409, "booking_closed"),
        "cancelled": (409, "booking_closed"),
        "finished": (409, "booking_closed"),
        "no_show": (409, "booking_closed"),
    },
    "finish": {
        "pending": (409, "wrong_state"),
        "confirmed": (409, "wrong_state"),
        "seated": (200, "finished"),
        "declined": (409, "booking_closed"),
        "cancelled": (409, "booking_closed"),
        "finished": (200, "finished"),
        "no_show": (409, "booking_closed"),
    },
    "no-show": {
        "pending": (409, "wrong_state"),
        "confirmed": (409, "wrong_state"),  # it has not begun
        "seated": (409, "wrong_state"),
        "declined": (409, "booking_closed"),
        "cancelled": (409, "booking_closed"),
        "finished": (409, "booking_closed"),
        "no_show": (200, "no_show"),
    },
    "move": {
        "pending": (200, "pending"),
        "confirmed": (200, "confirmed"),
        "seated": (200, "seated"),
        "declined": (409, "booking_closed"),
        "cancelled": (409, "booking_closed"),
        "finished": (409, "booking_closed"),
        "no_show": (409, "booking_closed"),
    },
}


@pytest.mark.parametrize("state", STATES["confirm"])
async def test_every_verb_answers_as_the_state_says(house: Restaurant, state: str) -> None:
    for verb, answers in STATES.items():
        booking_id = await house.in_state(await house.table(), state, at(19), at(21))
        body = {"starts_at": at(20).isoformat()} if verb == "move" else {}
        assert await house.code(verb, booking_id, **body) == answers[state], verb


async def test_a_request_is_pending_and_takes_nothing(house: Restaurant) -> None:
    table_id = await house.table(price=700)
    status, booking = await house.ask(table_id, at(19), guests=3)
    assert status == 201
    assert booking["status"] == "pending"
    assert (booking["guests"], booking["price_at_booking"], booking["version"]) == (3, 700, 1)
    assert booking["starts_at"] == at(19).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert booking["ends_at"] == at(21).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await house.ask(table_id, at(19)))[0] == 201
    assert await house.events() == ["requested"] * 2
    assert await house.mails() == ["guest:received", "staff:requested"] * 2


async def test_confirming_declines_its_rivals_and_tells_each(house: Restaurant) -> None:
    table_id = await house.table()
    winner = await house.asked(table_id, at(19), at(21))
    rivals = [await house.asked(table_id, at(18 + n), at(20 + n)) for n in range(2)]
    neighbour = await house.asked(table_id, at(21), at(23))
    elsewhere = await house.asked(await house.table(), at(19), at(21))
    assert await house.code("confirm", winner) == (200, "confirmed")
    for rival in rivals:
        _, booking = await house.as_staff("GET", f"/bookings/{rival}")
        assert (booking["status"], booking["reason"]) == ("declined", "rival")
        assert await house.code("confirm", rival) == (409, "table_taken")
    assert (await house.mails()).count("guest:declined") == 2
    assert (await house.events())[-3:] == ["confirmed", "declined", "declined"]
    assert await house.code("confirm", neighbour) == (200, "confirmed")
    assert await house.code("confirm", elsewhere) == (200, "confirmed")


async def test_rivals_may_be_kept(house: Restaurant) -> None:
    table_id = await house.table()
    winner, rival = [await house.asked(table_id, at(19), at(21)) for _ in range(2)]
    assert await house.code("confirm", winner, rivals="keep") == (200, "confirmed")
    assert await house.code("confirm", rival) == (409, "table_taken")
    assert await house.code("decline", rival) == (200, "declined")


async def test_a_repeat_tells_nobody_twice(house: Restaurant) -> None:
    booking_id = await house.asked(await house.table(), at(19), at(21))
    first = await house.do("confirm", booking_id)
    told = await house.events(), await house.mails()
    assert await house.do("confirm", booking_id) == first
    assert (await house.events(), await house.mails()) == told


async def test_a_placed_booking_is_confirmed_at_once(house: Restaurant) -> None:
    table_id = await house.table()
    body = {"table_id": table_id, "starts_at": at(19).isoformat(), "phone": "+44 20 7946 0000"}
    status, booking = await house.as_staff("POST", "/bookings/place", json=body)
    assert (status, booking["status"]) == (201, "confirmed")
    status, taken = await house.as_staff("POST", "/bookings/place", json=body)
    assert (status, taken["code"], taken["taken_by"]) == (409, "table_taken", booking["booking_id"])


async def test_an_open_ended_booking_takes_the_table_for_good(house: Restaurant) -> None:
    table_id = await house.table()
    later = await house.in_state(table_id, "confirmed", at(19, days=30), at(21, days=30))
    body = {"table_id": table_id, "starts_at": at(19).isoformat(), "ends_at": None}
    status, taken = await house.as_staff("POST", "/bookings/place", json=body)
    assert (status, taken["code"], taken["taken_by"]) == (409, "table_taken", later)
    await house.do("cancel", later)
    status, booking = await house.as_staff("POST", "/bookings/place", json=body)
    assert (status, booking["ends_at"]) == (201, None)
    pending = await house.asked(table_id, at(12, days=60), at(14, days=60))
    assert await house.code("confirm", pending) == (409, "table_taken")


async def test_a_move_keeps_the_price_and_one_that_changes_nothing_tells_nobody(
    house: Restaurant,
) -> None:
    table_id, other = await house.table(price=500), await house.table(price=900)
    booking_id = await house.in_state(table_id, "confirmed", at(19), at(21))
    told = await house.events()
    status, same = await house.do("move", booking_id, table_id=table_id)
    assert (status, same["version"]) == (200, 2)
    assert await house.events() == told
    status, moved = await house.do("move", booking_id, table_id=other, starts_at=at(20).isoformat())
    assert (status, moved["table_id"], moved["price_at_booking"]) == (200, other, 500)
    assert moved["ends_at"] == at(22).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await house.events() == [*told, "moved"]
    payload = await house.sql.fetchval(
        "SELECT payload #>> '{data,previous,table_id}' FROM outbox"
        " WHERE payload ->> 'type' = 'booking.moved'"
    )
    assert int(payload) == table_id


async def test_seated_guests_get_another_table_but_none_where_others_sit(
    house: Restaurant,
) -> None:
    await house.rules(notice_minutes=60)
    tables = [await house.table() for _ in range(3)]
    moved = await house.in_state(tables[0], "seated", at(19), at(21))
    sitting = await house.in_state(tables[1], "seated", at(12), at(13))
    later = await house.in_state(tables[2], "confirmed", at(20), at(22))
    await house.sql.execute(
        "UPDATE bookings SET starts_at = clock_timestamp() - interval '1 h',"
        " ends_at = clock_timestamp() - interval '1 minute' WHERE booking_id = $1",
        moved,
    )
    status, taken = await house.do("move", moved, table_id=tables[1])
    assert (status, taken["code"], taken["taken_by"]) == (409, "table_taken", sitting)
    told = await house.mails()
    assert await house.code("move", moved, table_id=tables[2]) == (200, "seated")
    assert await house.code("seat", later) == (409, "table_taken")
    assert await house.mails() == told, "who sits there needs no mail"
    assert (await house.events())[-1] == "moved"


async def test_a_table_that_is_confirmed_by_hand_meanwhile_is_taken(
    house: Restaurant, sql: Any, connect_as: Connect
) -> None:
    table_id = await house.table()
    by_hand, asked = [await house.asked(table_id, at(19), at(21)) for _ in range(2)]
    dba = await connect_as()
    async with dba.transaction():
        await dba.execute("UPDATE bookings SET status = 'confirmed' WHERE booking_id = $1", by_hand)
        confirming = asyncio.create_task(house.do("confirm", asked))

        async def waits() -> bool:
            waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            return bool(await sql.fetchval(waiting))

        await becomes(waits)
    status, answer = await confirming
    assert (status, answer["code"], answer["taken_by"]) == (409, "table_taken", by_hand)


async def test_bookings_are_never_deleted(sql: Any) -> None:
    for statement in ("DELETE FROM bookings", "TRUNCATE bookings CASCADE"):
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="of bookings is"):
            await sql.execute(statement)


async def test_who_sits_past_the_end_keeps_the_table(house: Restaurant, sql: Any) -> None:
    table_id = await house.table()
    seated = await house.in_state(table_id, "seated", at(1, days=1), at(2, days=1))
    await sql.execute(
        "UPDATE bookings SET starts_at = clock_timestamp() - interval '3 h',"
        " ends_at = clock_timestamp() - interval '1 h' WHERE booking_id = $1",
        seated,
    )
    now = {"table_id": table_id, "starts_at": "2020-01-01T00:00:00Z", "override": True}
    now["ends_at"] = at(0, days=1).isoformat()
    status, taken = await house.as_staff("POST", "/bookings/place", json=now)
    assert (status, taken["code"]) == (409, "table_taken")
    following = await house.in_state(table_id, "confirmed", at(3, days=1), at(4, days=1))
    assert await house.code("seat", following) == (409, "table_taken")
    assert await house.code("finish", seated) == (200, "finished")
    assert await house.code("seat", following) == (200, "seated")


async def test_a_booking_nobody_answered_lapses_with_its_time(house: Restaurant, sql: Any) -> None:
    booking_id = await house.asked(await house.table(), at(19), at(21))
    await sql.execute(
        "UPDATE bookings SET starts_at = clock_timestamp() - interval '2 h',"
        " ends_at = clock_timestamp() - interval '1 h'"
    )
    _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
    assert (booking["status"], booking["reason"]) == ("declined", "lapsed")
    assert await house.code("confirm", booking_id) == (409, "booking_closed")
    _, page = await house.as_staff("GET", "/bookings", params={"status": "declined"})
    assert [each["booking_id"] for each in page["bookings"]] == [booking_id]
    swept = await sql.fetchrow("SELECT * FROM lapse_bookings('main')")
    assert tuple(swept) == ("ok", 1)
    assert (await house.events())[-1] == "declined"
    assert await sql.fetchval("SELECT lapsed_count FROM lapse_bookings('main')") == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"starts_at": "2030-01-01T19:00:00"}, "starts_at"),
        ({"starts_at": "tomorrow"}, "starts_at"),
        ({"ends_at": None}, "ends_at"),
        ({"guests": 0}, "guests"),
        ({"guests": 1.5}, "guests"),
        ({"email": "nobody"}, "email"),
        ({"email": "a@b.c\r\nBcc: x@y.z"}, "email"),
        ({"name": "Ann\r\nBcc: x@y.z"}, "name"),
        ({"phone": "call me"}, "phone"),
        ({"language": "english"}, "language"),
        ({"status": "confirmed"}, "status"),
    ],
)
async def test_nonsense_is_refused_by_name(
    house: Restaurant, change: dict[str, Any], field: str
) -> None:
    table_id = await house.table()
    content = {"table_id": table_id, "starts_at": at(19).isoformat(), "email": "a@b.org"}
    status, answer = await house.send("POST", "/bookings", json=content | change)
    assert (status, answer["code"]) == (422, "invalid_body")
    assert [error["field"] for error in answer["errors"]] == [field]
    assert await house.sql.fetchval("SELECT count(*) FROM guests") == 0


async def test_an_end_before_the_start_is_refused(house: Restaurant) -> None:
    table_id = await house.table()
    status, answer = await house.ask(table_id, at(19), at(19))
    assert (status, answer["code"]) == (422, "invalid_request")


# No UTC, no PostgreSQL time, or none in four digits a day later.
ENDS_OF_TIME = (
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"),
    *("9999-12-31T23:59:59.999999999Z", "9999-12-31T00:00:00Z"),
)


@pytest.mark.parametrize("time", ENDS_OF_TIME)
async def test_times_beyond_the_calendar_are_refused(house: Restaurant, time: str) -> None:
    table_id = await house.table()
    booking_id = await house.asked(table_id, at(19), at(21))
    wanted = {"table_id": table_id, "starts_at": at(19).isoformat(), "phone": "12345"}
    for fields in ({"starts_at": time}, {"ends_at": time}):
        body = {"json": wanted | fields}
        moving = {"json": {**fields, "override": True}}
        for status, answer in (
            await house.send("GET", "/tables", params=fields),
            await house.send("POST", "/bookings", **body),
            await house.as_staff("POST", "/bookings/place", **body),
            await house.as_staff("POST", f"/bookings/{booking_id}/move", **moving),
        ):
            assert (status, answer["errors"][0]["field"]) == (422, next(iter(fields)))
    status, _ = await house.as_staff("GET", "/bookings", params={"from": time})
    assert status == 422


async def test_a_long_visit_is_not_moved_beyond_the_calendar(house: Restaurant) -> None:
    body = {"table_id": await house.table(), "starts_at": at(19).isoformat()}
    long = body | {"ends_at": at(19, days=400).isoformat()}
    _, booking = await house.as_staff("POST", "/bookings/place", json=long)
    last = {"starts_at": "9998-12-31T23:00Z"}
    status, answer = await house.do("move", booking["booking_id"], **last)
    assert (status, answer["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("override", [False, True])
async def test_a_placed_visit_that_ends_before_it_begins_is_refused(
    house: Restaurant, override: bool
) -> None:
    times = {"starts_at": at(20).isoformat(), "ends_at": at(19).isoformat()}
    body = {"table_id": await house.table(), **times, "override": override}
    status, answer = await house.as_staff("POST", "/bookings/place", json=body)
    assert (status, answer["code"]) == (422, "invalid_request")


async def test_a_user_without_an_address_gives_a_contact_and_one_with_it_need_not(
    house: Restaurant, api: Api, sql: Any
) -> None:
    user_id = await create_user(sql, "ann")
    headers = bearer(await token_of(sql, api, user_id))
    content = {"table_id": await house.table(), "starts_at": at(19).isoformat()}
    status, answer = await house.send("POST", "/bookings", json=content, headers=headers)
    assert (status, answer["code"]) == (422, "contact_required")
    await sql.execute("UPDATE users SET email = 'ann@example.org' WHERE user_id = $1", user_id)
    assert (await house.send("POST", "/bookings", json=content, headers=headers))[0] == 201


async def test_an_idempotency_key_is_the_signed_in_users_own(
    house: Restaurant, api: Api, sql: Any
) -> None:
    content = {"table_id": await house.table(), "starts_at": at(19).isoformat(), "phone": "12345"}
    made = []
    for login in ("ann", "bob", "ann"):
        user_id = await sql.fetchval("SELECT user_id FROM users WHERE login = $1", login)
        user_id = user_id or await create_user(sql, login)
        headers = bearer(await token_of(sql, api, user_id)) | {"Idempotency-Key": "1"}
        status, booking = await house.send("POST", "/bookings", json=content, headers=headers)
        assert status == 201
        made.append(booking["booking_id"])
    assert made[0] == made[2] != made[1]


async def test_a_contact_is_needed_and_a_phone_will_do(house: Restaurant) -> None:
    table_id = await house.table()
    content = {"table_id": table_id, "starts_at": at(19).isoformat()}
    status, answer = await house.send("POST", "/bookings", json=content)
    assert (status, answer["code"]) == (422, "contact_required")
    assert (await house.ask(table_id, at(19), phone="020 7946 0000"))[0] == 201


async def test_one_guest_may_have_so_many_waiting(house: Restaurant) -> None:
    table_id = await house.table()
    contact: dict[str, Any] = {"email": "Ann@example.org"}
    for _ in range(5):
        assert (await house.ask(table_id, at(19), **contact))[0] == 201
    status, answer = await house.ask(table_id, at(12), email="ann@example.org")
    assert (status, answer["code"]) == (429, "too_many_bookings")
    assert (await house.ask(table_id, at(12), email="bob@example.org"))[0] == 201
    await house.sql.execute("UPDATE bookings SET status = 'confirmed' WHERE booking_id = 1")
    assert (await house.ask(table_id, at(12), **contact))[0] == 201


async def test_nobody_is_placed_at_or_moved_to_an_unknown_table(house: Restaurant) -> None:
    table_id = await house.table()
    booking_id = await house.asked(table_id, at(19, days=1), at(21, days=1))
    where = {"table_id": table_id + 1, "starts_at": at(19, days=1).isoformat(), "guests": 1}
    placed = await house.as_staff("POST", "/bookings/place", json=where | {"name": "Ann"})
    assert (placed[0], placed[1]["code"]) == (404, "unknown_table")
    assert await house.code("move", booking_id, table_id=table_id + 1) == (404, "unknown_table")


async def test_closed_and_unknown_tables_cannot_be_asked_for(house: Restaurant) -> None:
    table_id = await house.table()
    pending = await house.asked(table_id, at(19), at(21))
    status, table = await house.as_staff("PATCH", f"/tables/{table_id}", json={"is_open": False})
    assert (status, table["is_open"]) == (200, False)
    assert (await house.ask(table_id, at(12)))[1]["code"] == "table_closed"
    assert await house.code("confirm", pending) == (409, "table_closed")
    assert await house.code("confirm", pending, override=True) == (200, "confirmed")
    assert (await house.ask(4711, at(12)))[0] == 404


async def test_customers_see_and_cancel_their_own(house: Restaurant, api: Api, sql: Any) -> None:
    ann, bob = [await create_user(sql, login) for login in ("ann", "bob")]
    headers = {user: bearer(await token_of(sql, api, user)) for user in (ann, bob)}
    table_id = await house.table()
    content = {"table_id": table_id, "starts_at": at(19).isoformat(), "phone": "12345"}
    status, booking = await house.send("POST", "/bookings", json=content, headers=headers[ann])
    assert status == 201
    path = f"/bookings/{booking['booking_id']}"
    status, mine = await house.send("GET", path, headers=headers[ann])
    assert (status, mine["phone"], mine["user_id"]) == (200, "12345", ann)
    assert (await house.send("GET", path, headers=headers[bob]))[0] == 404
    assert (await house.send("POST", path + "/cancel", headers=headers[bob]))[0] == 404
    assert (await house.send("POST", path + "/confirm", headers=headers[ann]))[0] == 403
    _, page = await house.send("GET", "/bookings", headers=headers[bob])
    assert page["bookings"] == []
    status, cancelled = await house.send("POST", path + "/cancel", headers=headers[ann])
    assert (status, cancelled["status"]) == (200, "cancelled")
    assert (await house.mails())[-2:] == ["guest:cancelled", "staff:cancelled"]


async def test_the_staff_system_confirms_by_its_key_and_development_asks_for_one(
    house: Restaurant, sql: Any
) -> None:
    booking_id = await house.asked(await house.table(), at(19), at(21))
    path = f"/bookings/{booking_id}/confirm"
    assert (await house.send("POST", path))[0] == 401
    status, _ = await house.send("POST", path, headers=bearer(await create_key(sql)))
    assert status == 200


async def test_lists_are_paged_and_filtered_by_time(house: Restaurant) -> None:
    table_id = await house.table()
    ids = [await house.asked(table_id, at(10 + n), at(11 + n)) for n in range(4)]
    _, page = await house.as_staff("GET", "/bookings", params={"limit": 3})
    assert [each["booking_id"] for each in page["bookings"]] == ids[:3]
    _, rest = await house.as_staff("GET", "/bookings", params={"after": page["next"]})
    assert [each["booking_id"] for each in rest["bookings"]] == ids[3:]
    span = {"from": at(11).isoformat(), "to": (at(12) + timedelta(minutes=1)).isoformat()}
    _, some = await house.as_staff("GET", "/bookings", params=span)
    assert [each["booking_id"] for each in some["bookings"]] == ids[1:3]


async def test_a_guest_can_be_forgotten(house: Restaurant, sql: Any) -> None:
    table_id = await house.table()
    contact = {"name": "Ann", "email": "ann@example.org", "phone": "555 123"}
    booking_id = await house.asked(table_id, at(19), at(21), **contact)
    status, answer = await house.as_staff(
        "POST", "/guests/forget", json={"contact": "ANN@example.org"}
    )
    assert (status, answer) == (200, {"forgotten": 1})
    _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
    assert (booking["name"], booking["email"], booking["phone"]) == (None, None, None)
    dump = await sql.fetch(
        "SELECT row_to_json(o)::text FROM outbox AS o UNION ALL"
        " SELECT row_to_json(a)::text FROM audit_log AS a UNION ALL"
        " SELECT row_to_json(k)::text FROM idempotency_keys AS k UNION ALL"
        " SELECT row_to_json(g)::text FROM guests AS g"
    )
    assert not [row for row in dump if "example.org" in row[0] or "555 123" in row[0]]
    again = await house.as_staff("POST", "/guests/forget", json={"contact": "ann@example.org"})
    assert (again[0], again[1]["code"]) == (404, "unknown_guest")


async def test_old_guests_are_erased(house: Restaurant, sql: Any) -> None:
    table_id = await house.table()
    booking_id = await house.asked(table_id, at(19), at(21))
    erase = "SELECT erased_count FROM anonymise_guests('main', interval '30 days', 100)"
    assert await sql.fetchval(erase) == 0
    await sql.execute(
        "UPDATE bookings SET starts_at = starts_at - interval '40 days',"
        " ends_at = ends_at - interval '40 days' WHERE booking_id = $1",
        booking_id,
    )
    assert await sql.fetchval(erase) == 1
    assert await sql.fetchval("SELECT email FROM guests") is None


async def test_a_dba_cannot_overlap_delete_or_rewrite(house: Restaurant, sql: Any) -> None:
    table_id = await house.table()
    await house.in_state(table_id, "confirmed", at(19), at(21))
    overlap = (
        "INSERT INTO bookings (store_id, table_id, guest_id, status, starts_at, ends_at, guests,"
        " price_at_booking, made_by) SELECT store_id, table_id, guest_id, 'confirmed',"
        " starts_at + interval '1 h', ends_at, guests, 0, 'dba' FROM bookings"
    )
    done = await house.in_state(table_id, "cancelled", at(12), at(13))
    for statement, error in (
        (overlap, "one_booking_at_a_time"),
        ("DELETE FROM bookings", "refused"),
        ("TRUNCATE bookings CASCADE", "refused"),
        (f"UPDATE bookings SET status = 'pending' WHERE booking_id = {done}", "has ended"),
        ("UPDATE bookings SET ends_at = 'infinity'", "end_comes_after_start"),
    ):
        with pytest.raises(Exception, match=error):
            await sql.execute(statement)


async def test_staff_who_book_for_a_guest_on_the_phone_are_not_the_guest(
    house: Restaurant, api: Api, sql: Any
) -> None:
    await sql.execute("UPDATE users SET email = 'waiter@example.org' WHERE login = 'waiter'")
    table_id = await house.table()
    for number in range(6):  # one more than one guest may have
        content = {"table_id": table_id, "starts_at": at(19).isoformat(), "phone": f"555 {number}"}
        status, booking = await house.as_staff("POST", "/bookings", json=content)
        assert status == 201
    _, seen = await house.as_staff("GET", f"/bookings/{booking['booking_id']}")
    assert (seen["email"], seen["phone"], seen["user_id"]) == (None, "555 5", None)
    del content["phone"]
    status, answer = await house.as_staff("POST", "/bookings", json=content)
    assert (status, answer["code"]) == (422, "contact_required")


async def test_a_strangers_idempotency_key_is_no_other_strangers(house: Restaurant) -> None:
    content = {"table_id": await house.table(), "starts_at": at(19).isoformat()}
    key = {"Idempotency-Key": "1"}

    async def ask(phone: str, guests: int = 1) -> Any:
        body = content | {"phone": phone, "guests": guests}
        return await house.send("POST", "/bookings", json=body, headers=key)

    (first, ann), (second, bob) = await ask("555 1234"), await ask("555 4321")
    assert (first, second) == (201, 201), "the same key of somebody else is in nobody's way"
    assert ann["booking_id"] != bob["booking_id"]
    assert await ask("555 1234") == (201, ann)
    status, refusal = await ask("555 1234", guests=2)
    assert (status, refusal["code"]) == (422, "idempotency_key_reused")
    assert await house.sql.fetchval("SELECT count(*) FROM bookings") == 2


async def test_a_request_that_nobody_answered_lapses_without_a_mail(house: Restaurant) -> None:
    booking_id = await house.asked(await house.table(), at(19), at(21))
    told = await house.mails()
    await house.sql.execute(
        "UPDATE bookings SET starts_at = starts_at - interval '9 days',"
        " ends_at = ends_at - interval '9 days'"
    )
    assert await house.sql.fetchval("SELECT lapsed_count FROM lapse_bookings('main')") == 1
    _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
    assert (booking["status"], booking["reason"]) == ("declined", "lapsed")
    assert await house.mails() == told
    assert (await house.events())[-1] == "declined"


async def test_a_table_that_is_removed_meanwhile_is_unknown(
    house: Restaurant, connect_as: Connect, sql: Any
) -> None:
    table_id = await house.table()
    content = {"table_id": table_id, "starts_at": at(19).isoformat(), "phone": "555 1234"}
    dba = await connect_as("owner", is_patient=True)
    async with dba.transaction():
        await dba.execute("DELETE FROM dining_tables")
        asking = asyncio.create_task(house.send("POST", "/bookings", json=content))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await becomes(lambda: sql.fetchval(waiting))
    status, answer = await asking
    assert (status, answer["code"]) == (404, "unknown_table")


PHONES = (
    "+44 20 7946 0000",
    "0044 (20) 7946-0000",
    "442079460000",
    "44.20.7946.0000",
    "+44/2079460000",
)


async def test_a_phone_is_the_same_however_it_is_written(house: Restaurant) -> None:
    table_id = await house.table()
    for phone in PHONES:
        assert (await house.ask(table_id, at(19), phone=phone))[0] == 201
    status, answer = await house.ask(table_id, at(19), phone="+442079460000")
    assert (status, answer["code"]) == (429, "too_many_bookings")
    assert (await house.ask(table_id, at(19), phone="+44 20 7946 0001"))[0] == 201
    contact = {"contact": "0044 207946 0000"}
    assert await house.as_staff("POST", "/guests/forget", json=contact) == (200, {"forgotten": 5})
    left = await house.sql.fetch("SELECT phone FROM guests WHERE phone IS NOT NULL")
    assert [row["phone"] for row in left] == ["+44 20 7946 0001"]


async def test_an_address_with_digits_is_no_phone(house: Restaurant) -> None:
    table_id = await house.table()
    assert (await house.ask(table_id, at(19), phone="123 456"))[0] == 201
    contact = {"contact": "ann123456@example.org"}
    assert (await house.as_staff("POST", "/guests/forget", json=contact))[0] == 404


async def test_the_column_and_the_function_agree_on_digits(sql: Any, main: None) -> None:
    await sql.execute(
        "INSERT INTO guests (store_id, phone) SELECT 'main', unnest($1::text[])",
        [*PHONES, "--", "00", "007", "tel. 12"],
    )
    differing = await sql.fetch(
        "SELECT phone FROM guests WHERE phone_digits IS DISTINCT FROM phone_digits(phone)"
    )
    assert differing == []


async def test_whoever_is_being_forgotten_holds_nobody_up(
    house: Restaurant, connect_as: Connect, sql: Any
) -> None:
    table_id = await house.table()
    for _ in range(3):
        await house.asked(table_id, at(19), at(21))
    await sql.execute(
        "UPDATE bookings SET starts_at = starts_at - interval '40 days',"
        " ends_at = ends_at - interval '40 days'"
    )
    other = await connect_as("owner")
    async with other.transaction():
        await other.execute("SELECT forget_guest('main', 'guest1@example.org', 'x')")
        erase = "SELECT erased_count FROM anonymise_guests('main', interval '30 days', 100)"
        assert await sql.fetchval(erase) == 2
    assert await sql.fetchval("SELECT count(*) FROM guests WHERE erased_at IS NULL") == 0


async def test_links_of_long_ago_are_removed(house: Restaurant, sql: Any, dsn: str) -> None:
    table_id = await house.table()
    ids = [await house.asked(table_id, at(19), at(21)) for _ in range(2)]
    for booking_id in ids:
        await sql.execute(
            "SELECT prepare_booking_mail('main', $1, 'guest', 'received', 1,"
            " sha256(convert_to($2, 'UTF8')), '{}')",
            *(booking_id, str(booking_id)),
        )
    await sql.execute("UPDATE booking_links SET created_at = created_at - interval '40 days'")
    await sql.execute(
        "UPDATE bookings SET starts_at = starts_at - interval '40 days',"
        " ends_at = ends_at - interval '40 days' WHERE booking_id = $1",
        ids[0],
    )
    (job,) = [job for job in bookings.jobs(Settings(guest_days=30)) if job.name == "drop_links"]
    database = Database(dsn, role="holdfast_worker", connections=1)
    (found,) = await job.find(database)
    assert await job.do(database, found) is False
    assert await job.find(database) == []
    await database.close()
    assert await sql.fetchval("SELECT array_agg(booking_id) FROM booking_links") == [ids[1]]
