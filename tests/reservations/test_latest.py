"""The latest reservations: newest first, of one state or product, at any pace."""

from typing import Any

import pytest

from tests.support.aliases import Api, Stocked
from tests.support.builders import URL, answer, hold, lapse

MANY = (
    "INSERT INTO reservations (store_id, reservation_id, line, kind, status, product_id, quantity,"
    " created_at, closed_at, closed_by)"
    " SELECT 'main', 'old-' || n, 1, 'hold', 'released', 'tea', 1,"
    " now() - interval '{age}' - n * interval '{apart}', now(), 'tests'"
    " FROM generate_series(1, {count}) AS n"
)


async def latest(api: Api, **query: Any) -> list[str]:
    """Ids, in the order of the answer."""
    response = await api.get(URL, params={"sort": "newest", **query})
    status, document = await answer(response)
    assert (status, document["next"]) == (200, None), document
    return [each["reservation_id"] for each in document["reservations"]]


async def make(api: Api, *names: str, **more: Any) -> None:
    for name in names:
        status, _ = await answer(await api.post(URL, json=hold(reservation_id=name, **more)))
        assert status == 201


async def test_the_newest_come_first(api: Api, stocked: Stocked) -> None:
    await stocked({"tea": 99, "oil": 9})
    await make(api, "b", "a")
    await make(api, "c", lines=[{"product_id": "oil", "quantity": 1}])
    assert await latest(api) == ["c", "a", "b"]
    assert await latest(api, limit=2) == ["c", "a"]
    assert await latest(api, product_id="tea") == ["a", "b"]


async def test_one_that_lapsed_is_expired_at_once(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"tea": 99})
    await make(api, "a", "b", ttl_seconds=60)
    await lapse(sql, "a")
    assert await latest(api, status="held") == ["b"]
    assert await latest(api, status="expired") == ["a"]


async def test_a_store_without_any_and_one_that_is_not_there(api: Api, main: None) -> None:
    assert await latest(api) == []
    response = await api.get("/api/v1/stores/nowhere/reservations?sort=newest")
    assert (await answer(response))[1]["code"] == "unknown_store"


@pytest.mark.parametrize(
    ("age", "apart", "count"),
    [
        ("0", "0.00001 seconds", 30000),  # 100,000 a second
        ("30 days", "0.0001 seconds", 30000),  # nothing for a month, then a storm
        ("1 day", "0", 30000),  # all in one moment
        ("0", "1 hour", 500),
    ],
)
async def test_as_many_as_wanted_are_found_however_they_came(
    api: Api, stocked: Stocked, sql: Any, age: str, apart: str, count: int
) -> None:
    await stocked({"tea": 99})
    await sql.execute("UPDATE stores SET created_at = now() - interval '1 year'")
    await sql.execute("SET statement_timeout = 0")  # each row is audited
    await sql.execute(MANY.format(age=age, apart=apart, count=count))
    found = await latest(api, limit=5)
    assert len(found) == 5
    if apart != "0":
        assert found == [f"old-{number}" for number in range(1, 6)]
    await make(api, "new")
    assert (await latest(api, status="held"))[:1] == ["new"]
