"""stock.low: told once per crossing, by the worker, whoever changed the stock."""

import asyncio
import json
from typing import Any

import pytest

from tests.support.aliases import Connect, Run, Stocked
from tests.support.waits import becomes

EVENTS = "SELECT payload -> 'data' AS data FROM outbox WHERE payload ->> 'type' = 'stock.low'"


@pytest.fixture
async def worker(stocked: Stocked, sql: Any, connect_as: Connect) -> Any:
    """A store with ten units of a product that is low at three, and of one that never is."""
    await stocked({"7": 10, "8": 10})
    await sql.execute("UPDATE products SET low_at = 3 WHERE product_id = '7'")
    return await connect_as("worker")


async def announce(worker: Any, store_id: str = "main") -> int:
    row = await worker.fetchrow("SELECT * FROM announce_low_stock($1, 100)", store_id)
    assert row["result_code"] == "ok"
    return int(json.loads(row["document"])["done"])


async def is_found(worker: Any) -> bool:
    found = json.loads(await worker.fetchval("SELECT document FROM find_low_stock()"))
    assert found in ([], [{"store_id": "main"}])
    return bool(found)


async def told(sql: Any) -> list[int]:
    """What was available each time."""
    events = [json.loads(row["data"]) for row in await sql.fetch(EVENTS + " ORDER BY message_id")]
    assert all(each["product_id"] == "7" and each["low_at"] == 3 for each in events)
    return [each["available"] for each in events]


async def set_on_hand(sql: Any, units: int) -> None:
    await sql.execute("UPDATE stock SET on_hand = $1 WHERE product_id = '7'", units)


async def test_a_crossing_is_told_once(sql: Any, worker: Any) -> None:
    assert not await is_found(worker)
    await set_on_hand(sql, 4)
    assert not await is_found(worker)
    await sql.execute("SELECT reserve_stock('main', 'r', '7', 1)")
    assert await is_found(worker)
    assert await announce(worker) == 1
    assert await told(sql) == [3]
    assert not await is_found(worker)
    await set_on_hand(sql, 2)
    assert await announce(worker) == 0
    assert await told(sql) == [3]


async def test_it_is_told_again_after_there_was_more(sql: Any, worker: Any) -> None:
    for units in (0, 5, 3):
        await set_on_hand(sql, units)
        assert await announce(worker) == 1
        assert not await is_found(worker)
    assert await told(sql) == [0, 3]


@pytest.mark.parametrize("change", ["low_at = NULL", "low_at = 1", "is_active = false"])
async def test_what_is_not_watched_any_more_is_not_low(sql: Any, worker: Any, change: str) -> None:
    await set_on_hand(sql, 2)
    await announce(worker)
    await sql.execute(f"UPDATE products SET {change} WHERE product_id = '7'")
    assert await is_found(worker)
    assert await announce(worker) == 1
    assert await sql.fetchval("SELECT count(*) FROM low_stock") == 0
    assert await told(sql) == [2]


async def test_units_of_a_lapsed_hold_are_not_missing(sql: Any, worker: Any) -> None:
    await sql.execute("SELECT reserve_stock('main', 'r', '7', 8, NULL, interval '1 ms')")
    await asyncio.sleep(0.01)
    await announce(worker)
    assert await told(sql) == []
    assert not await is_found(worker)


async def test_two_workers_tell_once(sql: Any, worker: Any, connect_as: Connect) -> None:
    await set_on_hand(sql, 2)
    second = await connect_as("worker")
    transaction = worker.transaction()
    await transaction.start()
    assert await announce(worker) == 1
    waiting = asyncio.create_task(announce(second))
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    async with asyncio.timeout(30):
        while not await sql.fetchval(blocked):
            await asyncio.sleep(0.01)
    await transaction.commit()
    await waiting
    assert await told(sql) == [2]


async def test_a_product_that_is_removed_is_forgotten(sql: Any, worker: Any) -> None:
    await sql.execute("INSERT INTO products (store_id, product_id, low_at) VALUES ('main', '9', 0)")
    await announce(worker)
    await sql.execute("DELETE FROM stock WHERE product_id = '9'")
    await sql.execute("DELETE FROM products WHERE product_id = '9'")
    assert await sql.fetchval("SELECT count(*) FROM low_stock") == 0


async def test_the_worker_finds_it(sql: Any, worker: Any, working: Run) -> None:
    async with working():
        await set_on_hand(sql, 1)
        await becomes(lambda: sql.fetchval("SELECT count(*) = 1 FROM low_stock"))
