"""hold_lines: a hold that is changed by who alone may, as an order changes its own."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Connect, Stocked
from tests.support.builders import lapse, reserve, stock
from tests.support.orders import own_holds
from tests.support.waits import until_waiting

HOLD = "SELECT * FROM hold_lines('main', 'order:1', 'order', $1, $2, $3, '1 day', 'user:1')"
LINES = "SELECT line, product_id, quantity, status::text FROM reservations ORDER BY line"


@pytest.fixture(autouse=True)
async def _holds_are_of_orders(sql: Any) -> AsyncIterator[None]:
    """For the check that follows every test."""
    yield
    await own_holds(sql)


async def set_lines(sql: Any, ttl: str | None = None, /, **quantities: int) -> str:
    """The code of setting some lines of the order's hold."""
    query = HOLD.replace("$3", f"interval '{ttl}'" if ttl else "NULL::interval")
    row = await sql.fetchrow(query, list(quantities), list(quantities.values()))
    return str(row["result_code"])


async def lines(sql: Any) -> dict[str, int]:
    """Units by product; the hold's lines are numbered from 1, and all are held."""
    rows = await sql.fetch(LINES)
    assert {row["status"] for row in rows} <= {"held"}
    assert not rows or rows[0]["line"] == 1
    return {row["product_id"]: row["quantity"] for row in rows}


async def test_lines_are_added_grown_shrunk_and_taken_away(sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 5, "cup": 5, "pot": 5})
    assert await set_lines(sql, tea=2) == "ok"
    assert await set_lines(sql, cup=1, pot=4) == "ok"
    assert await set_lines(sql, tea=5, pot=1) == "ok"
    assert await lines(sql) == {"tea": 5, "cup": 1, "pot": 1}
    assert await stock(sql) == {"tea": (5, 5), "cup": (5, 1), "pot": (5, 1)}
    assert await set_lines(sql, tea=0) == "ok"
    assert await lines(sql) == {"cup": 1, "pot": 1}
    assert await set_lines(sql, cup=0, pot=0) == "ok"
    assert await lines(sql) == {}
    assert await set_lines(sql, cup=0) == "ok"
    assert await stock(sql) == {"tea": (5, 0), "cup": (5, 0), "pot": (5, 0)}
    assert await set_lines(sql, tea=1) == "ok"
    row = await sql.fetchrow("SELECT kind::text, made_by, lifetime FROM reservations")
    assert tuple(row) == ("order", "user:1", None)


async def test_a_hundred_lines_come_and_go_without_end(sql: Any, stocked: Stocked) -> None:
    products = {f"p{n}": 1 for n in range(101)}
    await stocked(products)
    for _ in range(3):
        assert await set_lines(sql, None, **dict.fromkeys(list(products)[:100], 1)) == "ok"
        assert await set_lines(sql, p100=1) == "invalid_request"
        assert await set_lines(sql, p0=0, p100=1) == "ok"
        assert await sql.fetchval("SELECT max(line) FROM reservations") == 100
        assert await set_lines(sql, None, **dict.fromkeys(products, 0)) == "ok"


async def test_what_is_short_is_named_with_what_this_hold_could_have(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"tea": 5, "cup": 5})
    await reserve(sql, ("other", [("tea", 2)]))
    assert await set_lines(sql, tea=2, cup=1) == "ok"
    row = await sql.fetchrow(HOLD, ["tea", "cup"], [4, 6], None)
    assert row["result_code"] == "insufficient_stock"
    short = [
        {"product_id": "cup", "quantity": 6, "available": 5},
        {"product_id": "tea", "quantity": 4, "available": 3},
    ]
    assert json.loads(row["document"]) == short[0] | {"lines": short}
    assert await lines(sql) == {"tea": 2, "cup": 1}
    row = await sql.fetchrow(HOLD, ["none", "tea"], [1, 1], None)
    assert row["result_code"] == "unknown_product"
    assert json.loads(row["document"])["lines"][0]["product_id"] == "none"
    assert await set_lines(sql, tea=-1) == "invalid_request"


async def test_every_change_prolongs_the_whole_hold_up_to_its_longest(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"tea": 5, "cup": 5})
    times = "SELECT DISTINCT expires_at - created_at FROM reservations"
    assert await set_lines(sql, "1 h", tea=1) == "ok"
    assert await set_lines(sql, "2 h", cup=1) == "ok"
    (row,) = await sql.fetch(times)
    assert 7200 <= row[0].total_seconds() < 7300
    assert await set_lines(sql, "1 s", cup=2) == "ok"
    assert await sql.fetch(times) == [row]
    assert await set_lines(sql, "9 days", cup=2) == "ok"
    (row,) = await sql.fetch(times)
    assert row[0].total_seconds() == 86400
    assert await set_lines(sql, None, cup=2) == "ok"
    assert await sql.fetchval("SELECT bool_and(expires_at IS NULL) FROM reservations")


@pytest.mark.parametrize("reclaimed", [[], ["tea"], ["tea", "cup"]])
async def test_an_expired_hold_is_taken_anew_with_what_is_named(
    sql: Any, stocked: Stocked, reclaimed: list[str]
) -> None:
    await stocked({"tea": 5, "cup": 5, "pot": 5})
    assert await set_lines(sql, "1 h", tea=2, cup=2) == "ok"
    before = await sql.fetchval("SELECT min(created_at) FROM reservations")
    await lapse(sql, "order:1")
    await sql.execute("SELECT lock_stock('main', $1)", reclaimed)
    assert await set_lines(sql, "1 h", tea=1, pot=3) == "ok"
    assert await lines(sql) == {"tea": 1, "pot": 3}
    assert await stock(sql) == {"tea": (5, 1), "cup": (5, 0), "pot": (5, 3)}
    rows = await sql.fetch("SELECT DISTINCT created_at > $1, closed_at FROM reservations", before)
    assert [tuple(row) for row in rows] == [(True, None)]


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_what_is_resolved_is_not_taken_anew(sql: Any, stocked: Stocked, verb: str) -> None:
    await stocked({"tea": 5})
    await sql.execute("UPDATE products SET price = 5")
    assert await set_lines(sql, tea=2) == "ok"
    async with sql.transaction():
        await sql.execute("SELECT lock_reservation('main', 'order:1')")
        await sql.execute(f"SELECT {verb}_lines('main', 'order:1', 'user:1')")
    assert await set_lines(sql, tea=1) == "reservation_closed"
    assert await stock(sql) == {"tea": (3, 0) if verb == "commit" else (5, 0)}
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await sql.execute("DELETE FROM reservations")


async def test_the_sweeper_leaves_orders_alone(sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 5})
    assert await set_lines(sql, "1 h", tea=2) == "ok"
    await lapse(sql, "order:1")
    assert (await sql.fetchrow("SELECT * FROM find_lapsed_reservations()"))["document"] == "[]"
    assert await sql.fetchval("SELECT expired_count FROM expire_reservations('main')") == 0
    # Who needs the units takes them all the same.
    assert await reserve(sql, ("1", [("tea", 5)])) == ["ok"]


@pytest.mark.parametrize(
    ("kind", "reservation_id"),
    [
        ("order", "1"),
        ("order", "order:"),
        ("order", "order:a:b"),
        ("order", "order:" + "x" * 65),
        ("hold", "order:1"),
        ("callback", "a:b"),
        ("hold", "x" * 65),
    ],
)
async def test_an_id_fits_its_kind(
    sql: Any, stocked: Stocked, kind: str, reservation_id: str
) -> None:
    await stocked({"tea": 5})
    hold = "SELECT hold_lines('main', $1, $2::text::reservation_kind, ARRAY['tea'], ARRAY[1],"
    with pytest.raises(asyncpg.CheckViolationError, match="visible_id"):
        await sql.execute(f"{hold} NULL, NULL, 'me')", reservation_id, kind)
    await sql.execute(f"{hold} NULL, NULL, 'me')", "order:" + "x" * 64, "order")


async def last_unit(connect_as: Connect) -> str:
    """What is told to an order that comes while another has not committed the last unit."""
    first, second = await connect_as("owner"), await connect_as("owner")
    transaction = first.transaction()
    await transaction.start()
    assert await reserve(first, ("1", [("tea", 1)])) == ["ok"]
    waiting = asyncio.create_task(set_lines(second, tea=1))
    await until_waiting(first, second)
    await transaction.commit()
    return await waiting


async def test_the_second_for_the_last_unit_waits_and_is_told(
    connect_as: Connect, stocked: Stocked
) -> None:
    await stocked({"tea": 1})
    assert await last_unit(connect_as) == "insufficient_stock"


async def test_without_the_lock_the_second_decides_on_stale_stock(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 1})
    source = await sql.fetchval("SELECT pg_get_functiondef('lock_stock'::regproc)")
    await sql.execute(source.replace("FOR UPDATE", ""))
    with pytest.raises(asyncpg.CheckViolationError, match="never_oversold"):
        await last_unit(connect_as)


async def test_holds_that_change_in_any_order_never_deadlock(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    """Each hold is one caller's, as it is under its order's lock."""
    products = [f"p{n}" for n in range(5)]
    await stocked(dict.fromkeys(products, 12))

    async def change(seed: int) -> None:
        connection, chance = await connect_as("owner"), random.Random(seed)
        query = HOLD.replace("order:1", f"order:{seed}")
        for _ in range(40):
            wanted = chance.sample(products, 3)
            quantities = [chance.randint(0, 4) for _ in wanted]
            row = await connection.fetchrow(query, wanted, quantities, None)
            assert row["result_code"] in ("ok", "insufficient_stock")

    await asyncio.gather(*map(change, range(6)))
