"""The two ways to reserve: each waits for the row it wants, and none leaves a deadlock or waste.

Requests of one line go at once; baskets, and what cannot go so, are judged in order.
"""

import asyncio
import random
import time
from collections import Counter
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Connect, Stocked
from tests.support.builders import Line, Request, reserve, reserved
from tests.support.waits import until_waiting

ONE: list[Request] = [("2", [("a", 1)])]
BASKET: list[Request] = [("2", [("a", 1), ("b", 1)])]

CONDITION = "AND w.quantity <= s.on_hand - s.reserved"


async def second_of_two(connect_as: Connect, way: list[Request]) -> list[str]:
    """The codes that a caller gets who comes while another has not committed the last unit."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    assert await reserve(first, ("1", [("a", 1)])) == ["ok"]
    waiting = asyncio.create_task(reserve(second, *way))
    await until_waiting(first, second)
    await transaction.commit()
    return await waiting


@pytest.mark.parametrize("way", [ONE, BASKET], ids=["one", "basket"])
async def test_the_second_for_the_last_unit_waits_and_is_told(
    connect_as: Connect, stocked: Stocked, way: list[Request]
) -> None:
    await stocked({"a": 1, "b": 5})
    assert await second_of_two(connect_as, way) == ["insufficient_stock"]


async def test_without_a_look_at_the_locked_row_the_second_takes_what_is_gone(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    """Shows that the race above is real: then only the CHECK constraint stops it."""
    await stocked({"a": 1, "b": 5})
    source = await sql.fetchval("SELECT pg_get_functiondef('reserve_at_once'::regproc)")
    assert CONDITION in source
    await sql.execute(source.replace(CONDITION, ""))
    with pytest.raises(asyncpg.CheckViolationError, match="never_oversold"):
        await second_of_two(connect_as, ONE)


async def judged_at_once(connect_as: Connect, sql: Any) -> list[list[str]]:
    """The codes of two callers who are judged in order, both there before either can go on."""
    source = await sql.fetchval("SELECT pg_get_functiondef('reserve_in_order'::regproc)")
    gate = "    PERFORM pg_advisory_xact_lock_shared(6);\n    -- Write."
    assert "    -- Write." in source
    await sql.execute(source.replace("    -- Write.", gate, 1))
    keeper = await connect_as("owner", is_patient=True)
    await keeper.execute("SELECT pg_advisory_lock(6)")
    callers = [await connect_as("owner", is_patient=True) for _ in range(2)]
    calls = asyncio.gather(
        *(
            reserve(caller, (f"{n}", [("a", 5)]), (f"{n}x", [("a", 1)]))
            for n, caller in enumerate(callers)
        )
    )
    for caller in callers:
        await until_waiting(keeper, caller)
    await keeper.execute("SELECT pg_advisory_unlock(6)")
    return await calls


async def test_judged_in_order_the_second_waits_for_the_first(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    codes = await judged_at_once(connect_as, sql)
    assert sorted(each[1] for each in codes) == ["insufficient_stock", "ok"]


async def test_judged_in_order_without_the_lock_both_are_granted(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    source = await sql.fetchval("SELECT pg_get_functiondef('lock_stock'::regproc)")
    await sql.execute(source.replace("FOR UPDATE", ""))
    with pytest.raises(asyncpg.CheckViolationError, match="never_oversold"):
        await judged_at_once(connect_as, sql)


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.faults)])
@pytest.mark.parametrize("products", [2, 40], ids=["hot", "uniform"])
async def test_batches_in_opposite_orders_and_twins_never_deadlock(
    connect_as: Connect, stocked: Stocked, sql: Any, products: int, seconds: float
) -> None:
    """Every session sends the same ids, in an order of its own, over the same products.

    The twin that comes second in a batch judged in order is rolled back, and tried again.
    """
    names = [f"p{n}" for n in range(products)]
    await stocked(dict.fromkeys(names, 10**6))
    ends_at = time.monotonic() + seconds
    granted: Counter[str] = Counter()

    async def call(seed: int) -> None:
        connection, chance = await connect_as("service"), random.Random(seed)
        number = 0
        while time.monotonic() < ends_at:
            number += 1
            batch: list[Request] = []
            for n in range(12):
                same = random.Random(number * 100 + n)  # whoever sends it
                lines: list[Line] = [
                    (name, 1) for name in same.sample(names, 2 if number % 2 and n % 4 == 0 else 1)
                ]
                batch.append((f"{number}-{n}", lines))
            chance.shuffle(batch)
            mine = batch[: chance.randint(1, 12)]
            for _ in range(9):
                try:
                    granted.update(await reserve(connection, *mine))
                    break
                except asyncpg.UniqueViolationError:
                    continue

    await asyncio.gather(*map(call, range(4)))
    assert set(granted) == {"ok", "already_reserved"}
    assert granted["ok"] == await sql.fetchval("SELECT count(*) FROM reservation_summaries")
    assert sum((await reserved(sql)).values()) == await sql.fetchval(
        "SELECT sum(quantity) FROM reservations"
    )
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await sql.fetchval(deadlocks) == 0


async def written(sql: Any, service: Any) -> dict[str, tuple[int, ...]]:
    """Of each hot table: rows inserted, rows updated, dead rows, pages."""
    for connection in (sql, service):
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await sql.fetch(
        "SELECT relname, n_tup_ins, n_tup_upd, n_dead_tup, pg_relation_size(relid) / 8192 AS pages"
        " FROM pg_stat_user_tables WHERE relname IN ('stock', 'reservations')"
    )
    return {row["relname"]: tuple(row)[1:] for row in rows}


async def storm(connection: Any, seconds: float, batch: list[Request]) -> int:
    """Send a batch of new ids again and again; how many were granted."""
    start = time.monotonic()
    number = count = 0
    while number == 0 or time.monotonic() < start + seconds:
        number += 1
        codes = await reserve(
            connection, *((f"{start}-{number}-{name}", lines) for name, lines in batch)
        )
        count += codes.count("ok")
    return count


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=pytest.mark.faults)])
async def test_a_sold_out_storm_writes_nothing(
    connect_as: Connect, stocked: Stocked, sql: Any, seconds: float
) -> None:
    await stocked({"a": 0, "b": 0, "c": 5})
    service = await connect_as("service")
    batch: list[Request] = [(str(n), [("ab"[n % 2], 1 + n % 3)]) for n in range(32)]
    before = await written(sql, service)
    assert await storm(service, seconds, batch) == 0
    # Whoever writes or locks a row, even what is then undone, is given a number.
    async with service.transaction():
        assert await storm(service, 0, batch) == 0
        assert await service.fetchval("SELECT pg_current_xact_id_if_assigned()") is None
    # Baskets are locked, which leaves nothing behind.
    baskets: list[Request] = [("1", [("a", 1), ("c", 1)]), ("2", [("c", 1), ("b", 6)])]
    assert await storm(service, seconds / 10, baskets) == 0
    assert await written(sql, service) == before


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=pytest.mark.faults)])
async def test_a_half_sold_out_storm_leaves_a_bounded_rest(
    connect_as: Connect, stocked: Stocked, sql: Any, seconds: float
) -> None:
    """Each change of stock leaves the row before it on its page, which cleans itself.

    What is taken and given back within a call does, too; but then something is granted in order.
    """
    await stocked({"a": 0, "b": 10**9, "c": 3})
    service = await connect_as("service")
    batch: list[Request] = [(str(n), [("ab"[n % 2], 1)]) for n in range(16)]
    assert await storm(service, seconds, batch) > 0
    baskets: list[Request] = [("1", [("a", 1), ("b", 1)]), ("2", [("b", 1), ("c", 4)])]
    assert await storm(service, seconds / 10, baskets) == 0
    pages = (await written(sql, service))["stock"][3]
    assert pages <= 8, "of 1 at first"
