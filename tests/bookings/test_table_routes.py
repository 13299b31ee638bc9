"""Tables: added and changed by staff, searched by all."""

from typing import Any

from tests.support.bookings import Restaurant, at
from tests.support.builders import bearer, create_key


async def listed(house: Restaurant, **query: Any) -> list[int]:
    status, page = await house.send("GET", "/tables", params=query)
    assert status == 200, page
    return [table["table_id"] for table in page["tables"]]


async def test_tables_are_found_by_kind_seats_and_price(house: Restaurant) -> None:
    small = await house.table(seats=2, price=100)
    room = await house.table(kind="room", seats=12, price=9000)
    cabin = await house.table(kind="cabin", seats=4, price=2000)
    closed = await house.table(seats=4, is_open=False)
    assert await listed(house) == [small, room, cabin]
    assert await listed(house, kind="room") == [room]
    assert await listed(house, seats=3) == [room, cabin]
    assert await listed(house, price_min=100, price_max=2000) == [small, cabin]
    await house.as_staff("PATCH", f"/tables/{closed}", json={"is_open": True, "price": 50})
    assert await listed(house, price_max=50) == [closed]


async def test_with_a_time_only_free_ones_are_listed(house: Restaurant) -> None:
    taken, free = await house.table(), await house.table()
    await house.in_state(taken, "confirmed", at(19), at(21))
    await house.asked(free, at(19), at(21))  # takes nothing
    assert await listed(house, starts_at=at(20).isoformat()) == [free]
    assert await listed(house, starts_at=at(21).isoformat()) == [taken, free]
    assert await listed(
        house, starts_at=at(17).isoformat(), ends_at=at(19).isoformat()
    ) == [taken, free]  # fmt: skip
    status, answer = await house.send("GET", "/tables", params={"starts_at": "2020-01-01T00:00Z"})
    assert (status, answer["code"], answer["rule"]) == (422, "outside_rules", "past")
    status, answer = await house.send("GET", "/tables", params={"ends_at": at(19).isoformat()})
    assert (status, answer["code"]) == (422, "invalid_request")


async def test_guests_who_sit_down_early_spoil_no_search(house: Restaurant) -> None:
    early, free = await house.table(), await house.table()
    await house.in_state(early, "seated", at(19), at(21))
    assert await listed(house, starts_at=at(20).isoformat()) == [free]
    assert await listed(house, starts_at=at(21).isoformat()) == [early, free]
    backwards = {"starts_at": at(20).isoformat(), "ends_at": at(19).isoformat()}
    status, answer = await house.send("GET", "/tables", params=backwards)
    assert (status, answer["code"]) == (422, "invalid_request")


async def test_lists_are_paged(house: Restaurant) -> None:
    ids = [await house.table() for _ in range(5)]
    _, page = await house.send("GET", "/tables", params={"limit": 3})
    assert [table["table_id"] for table in page["tables"]] == ids[:3]
    assert await listed(house, after=page["next"]) == ids[3:]


async def test_only_staff_and_keys_for_it_change_tables(house: Restaurant, sql: Any) -> None:
    table = {"kind": "regular", "seats": 4, "price": 500}
    assert (await house.send("POST", "/tables", json=table))[0] == 401
    key = bearer(await create_key(sql))
    assert (await house.send("POST", "/tables", json=table, headers=key))[0] == 403
    table_id = await house.table()
    for change in ({"seats": 0}, {"price": -1}, {"kind": "sofa"}, {"colour": "red"}):
        status, _ = await house.as_staff("PATCH", f"/tables/{table_id}", json=change)
        assert status == 422
    assert (await house.as_staff("PATCH", "/tables/4711", json={"seats": 2}))[0] == 404
    assert (await house.as_staff("PATCH", "/tables/x", json={"seats": 2}))[0] == 404
    subjects = await sql.fetch("SELECT DISTINCT subject FROM audit_log WHERE actor LIKE 'user:%'")
    assert f"dining_tables/{table_id}" in [row["subject"] for row in subjects]


async def test_staff_see_closed_tables_too(house: Restaurant) -> None:
    open_one, closed = await house.table(), await house.table(is_open=False)
    _, page = await house.as_staff("GET", "/tables/all", params={"limit": 1})
    _, rest = await house.as_staff("GET", "/tables/all", params={"after": page["next"]})
    found = [each["table_id"] for each in page["tables"] + rest["tables"]]
    assert found == [open_one, closed]
    assert (await house.send("GET", "/tables/all"))[0] == 401
    unknown = await house.sql.fetchval("SELECT result_code FROM list_all_tables('x', NULL, 1)")
    assert unknown == "unknown_store"
