"""The house rules of a restaurant: each enforced, each named where it is broken."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.support.aliases import Serve
from tests.support.bookings import Restaurant, at

EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


async def broken(house: Restaurant, table_id: int, starts: datetime, **fields: Any) -> str | None:
    """The rule that a request breaks; None: it was taken."""
    status, answer = await house.ask(table_id, starts, **fields)
    if status == 201:
        return None
    assert (status, answer["code"]) == (422, "outside_rules"), answer
    return str(answer["rule"])


async def test_without_rules_nothing_is_restricted_but_the_past(house: Restaurant) -> None:
    table_id = await house.table()
    status, rules = await house.send("GET", "/bookings/rules")
    assert (status, rules["hours"]) == (200, None)
    assert rules["visit_minutes"] == [{"guests": 10000, "minutes": 120}]
    assert await broken(house, table_id, at(3.5, days=900)) is None
    assert await broken(house, table_id, datetime.now(UTC) - timedelta(minutes=1)) == "past"


async def test_every_rule_is_named(house: Restaurant) -> None:
    table_id = await house.table(seats=4)
    closed = at(0, days=3).date().isoformat()
    status, rules = await house.rules(
        time_zone="UTC",
        hours={day: [["18:00", "02:00"]] for day in EVERY_DAY},
        closed_days=[closed],
        visit_minutes=[{"guests": 2, "minutes": 90}, {"guests": 6, "minutes": 150}],
        notice_minutes=60,
        days_ahead=30,
        largest_party=3,
    )
    assert status == 200, rules
    assert (await house.send("GET", "/bookings/rules"))[1] == rules
    soon = datetime.now(UTC) + timedelta(minutes=5)
    assert await broken(house, table_id, soon) == "notice"
    assert await broken(house, table_id, at(19, days=40)) == "days_ahead"
    assert await broken(house, table_id, at(19, days=3)) == "closed_day"
    assert await broken(house, table_id, at(17)) == "hours"
    assert await broken(house, table_id, at(25.5, days=4)) == "hours"  # 90 minutes end after 02:00
    assert await broken(house, table_id, at(24.5)) is None  # in the span of the day before
    assert await broken(house, table_id, at(19), guests=4) == "party"
    await house.rules()
    assert await broken(house, table_id, at(19), guests=5) == "seats"
    assert await broken(house, table_id, at(19), ends_at=at(44).isoformat()) == "length"


async def test_the_length_of_a_visit_depends_on_the_party(house: Restaurant) -> None:
    table_id = await house.table(seats=20)
    await house.rules(visit_minutes=[{"guests": 2, "minutes": 90}, {"guests": 6, "minutes": 150}])
    for guests, minutes in ((1, 90), (2, 90), (3, 150), (6, 150), (9, 150)):
        _, booking = await house.ask(table_id, at(19), guests=guests)
        ends = datetime.fromisoformat(booking["ends_at"])
        assert ends - at(19) == timedelta(minutes=minutes), guests


async def test_the_night_after_a_closed_day_is_open(house: Restaurant) -> None:
    """A span belongs to the day it opens: what is left of the evening before stays open."""
    table_id = await house.table()
    await house.rules(
        time_zone="UTC",
        hours={day: [["18:00", "04:00"]] for day in EVERY_DAY},
        closed_days=[at(0, days=3).date().isoformat()],
    )
    assert await broken(house, table_id, at(1, days=3)) is None
    assert await broken(house, table_id, at(1, days=4)) == "closed_day"


@pytest.mark.parametrize(
    ("closing", "opening", "hours"),
    [("2027-03-27", "2027-03-28", 23), ("2027-10-30", "2027-10-31", 25)],
)
async def test_both_nights_that_change_the_clocks_are_right(
    house: Restaurant, closing: str, opening: str, hours: int
) -> None:
    """From noon to noon: lengths are elapsed time, opening hours are the clock's."""
    zone = ZoneInfo("Europe/Berlin")
    table_id = await house.table()
    await house.rules(time_zone="Europe/Berlin", hours={"sat": [["12:00", "12:00"]]})
    noon = datetime.fromisoformat(f"{closing}T12:00").replace(tzinfo=zone).astimezone(UTC)
    next_noon = datetime.fromisoformat(f"{opening}T12:00").replace(tzinfo=zone).astimezone(UTC)
    assert next_noon - noon == timedelta(hours=hours)
    last = next_noon - timedelta(hours=2)
    assert await broken(house, table_id, noon) is None
    assert await broken(house, table_id, last) is None
    assert await broken(house, table_id, last + timedelta(minutes=1)) == "hours"
    first = await house.asked(table_id, noon, noon + timedelta(hours=15))
    second = await house.asked(table_id, noon + timedelta(hours=15), next_noon)
    assert await house.code("confirm", first) == (200, "confirmed")
    assert await house.code("confirm", second) == (200, "confirmed")


async def test_between_two_visits_there_is_a_buffer(house: Restaurant) -> None:
    table_id = await house.table()
    await house.rules(buffer_minutes=15)
    first = await house.asked(table_id, at(19), at(21))
    close = await house.asked(table_id, at(21), at(22))
    fits = await house.asked(table_id, at(21.25), at(22))
    assert await house.code("confirm", first) == (200, "confirmed")
    status, taken = await house.do("confirm", close)
    assert (status, taken["code"], taken["rule"]) == (409, "table_taken", "buffer")
    assert await house.code("confirm", fits) == (200, "confirmed")
    _, free = await house.send(
        "GET",
        "/tables",
        params={"starts_at": at(18).isoformat(), "ends_at": at(18.9).isoformat()},
    )
    assert free["tables"] == []
    before = await house.asked(table_id, at(18), at(19))
    assert await house.code("confirm", before) == (409, "table_taken")
    assert await house.code("confirm", before, override=True) == (200, "confirmed")


async def test_staff_may_override_all_but_the_overlap(house: Restaurant) -> None:
    table_id = await house.table(seats=2)
    await house.rules(hours={}, largest_party=1, notice_minutes=100000)
    wanted = {"table_id": table_id, "starts_at": at(19).isoformat(), "guests": 9}
    status, answer = await house.as_staff("POST", "/bookings/place", json=wanted)
    assert (status, answer["code"]) == (422, "outside_rules")
    wanted["override"] = True
    assert (await house.as_staff("POST", "/bookings/place", json=wanted))[0] == 201
    status, answer = await house.as_staff("POST", "/bookings/place", json=wanted)
    assert (status, answer["code"], answer["rule"]) == (409, "table_taken", "overlap")


async def test_a_reminder_is_due_before_the_visit(house: Restaurant, sql: Any) -> None:
    await house.rules(reminder_hours=3)
    await house.in_state(await house.table(), "confirmed", at(19), at(21))
    due = await sql.fetchval("SELECT due_at FROM outbox WHERE payload ->> 'mail' = 'reminder'")
    assert due == at(16)


@pytest.mark.parametrize(
    "rules",
    [
        {"time_zone": "Mars/Olympus"},
        {"hours": {"mon": [["25:00", "26:00"]]}},
        {"hours": {"someday": []}},
        {"visit_minutes": [{"guests": 2, "minutes": 0}]},
        {"buffer_minutes": -1},
        {"closed_days": ["christmas"]},
        {"closed_on": "mon"},
    ],
)
async def test_rules_that_nobody_could_judge_by_are_refused(
    house: Restaurant, rules: dict[str, Any]
) -> None:
    status, answer = await house.rules(**rules)
    assert (status, answer["code"]) == (422, "invalid_body")
    assert await house.sql.fetchval("SELECT count(*) FROM booking_rules") == 0


@pytest.mark.parametrize(
    "rules", ['{"time_zone": "Mars"}', '{"hours": {"mon": [["soon", "late"]]}}',
              '{"visit_minutes": 5}', '{"buffer_minutes": "much"}'],
)  # fmt: skip
async def test_a_dbas_nonsense_is_refused_by_the_function(
    house: Restaurant, sql: Any, rules: str
) -> None:
    assert (await house.send("GET", "/bookings/rules"))[0] == 200
    answer = await sql.fetchrow(
        "SELECT * FROM set_booking_rules('main', $1::jsonb,"
        ' booking_rules_of(\'main\', \'{"time_zone": "UTC", "booking_minutes": 120,'
        " \"reminder_hours\": 0}'), 'dba')",
        rules,
    )
    assert answer["result_code"] == "invalid_request"


@pytest.mark.parametrize("rules", [{}, {"hours": {"mon": [["09:00", "24:00"]]}, "days_ahead": 3}])
async def test_what_get_gives_put_takes(house: Restaurant, rules: dict[str, Any]) -> None:
    await house.rules(**rules)
    _, given = await house.send("GET", "/bookings/rules")
    assert await house.rules(**given) == (200, given)
    assert (await house.send("GET", "/bookings/rules"))[1] == given


async def test_a_zone_that_postgresql_does_not_know_is_refused_from_whoever(
    house: Restaurant, sql: Any, serve: Serve
) -> None:
    await house.rules(time_zone="Europe/Berlin")
    with pytest.raises(Exception, match="Mars/Olympus"):
        await sql.execute('UPDATE booking_rules SET rules = \'{"time_zone": "Mars/Olympus"}\'')
    await sql.execute("DELETE FROM booking_rules")
    table_id = await house.table()
    elsewhere = await serve(time_zone="Mars/Olympus")  # as of a Python that knows more zones
    content = {"table_id": table_id, "starts_at": at(19).isoformat(), "phone": "555 1234"}
    response = await elsewhere.post("/api/v1/bookings", json=content)
    assert (response.status, (await response.json())["code"]) == (503, "database_unavailable")
