"""The ledger of stock: every change once, counted for each product, and never rewritten."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic import command

from service.database import migrate
from service.database.connections import connected
from service.database.roles import OWNER
from tests.support.aliases import Connect, Stocked
from tests.support.databases import empty_database, revision_before

NUMBERS = "SELECT product_id, array_agg(number ORDER BY number) FROM stock_movements GROUP BY 1"
VIOLATIONS = "SELECT invariant, subject, expected, found FROM invariant_violations"
PAIR = (
    "INSERT INTO stock_movements"
    " (store_id, product_id, number, delta, on_hand_after, reason, actor) VALUES"
    " ('main', 'a', 2, 5, 10, 'supply', 'me'), ('main', 'a', 3, -5, 5, 'demand', 'me')"
)
OPEN = "ALTER TABLE stock_movements DISABLE TRIGGER USER;"


async def test_each_product_counts_its_movements_from_one(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5, "b": 1})
    await sql.execute("UPDATE stock SET on_hand = on_hand + 1")
    await sql.execute("UPDATE stock SET on_hand = 0 WHERE product_id = 'a'")
    assert dict(await sql.fetch(NUMBERS)) == {"a": [1, 2, 3], "b": [1, 2]}


async def test_a_row_of_stock_that_comes_back_goes_on_counting(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    await sql.execute("DELETE FROM stock")
    await sql.execute("INSERT INTO stock (store_id, product_id, on_hand) VALUES ('main', 'a', 1)")
    assert dict(await sql.fetch(NUMBERS)) == {"a": [1, 2, 3]}


async def test_changes_at_once_are_counted_without_gap_or_repeat(
    sql: Any, stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"a": 1, "b": 1})
    writers = [await connect_as("owner") for _ in range(4)]

    async def write(connection: Any) -> None:
        for _ in range(20):
            await connection.execute("UPDATE stock SET on_hand = on_hand + 1")

    await asyncio.gather(*map(write, writers))
    assert dict(await sql.fetch(NUMBERS)) == {each: list(range(1, 82)) for each in "ab"}


async def test_time_never_goes_back_in_the_history_of_a_product(sql: Any, stocked: Stocked) -> None:
    """The clock may: `?as_of=` goes by the time, and must not meet an older balance."""
    await stocked({"a": 5})
    await sql.execute(
        f"{OPEN} UPDATE stock_movements SET created_at = created_at + interval '1 hour';"
        "ALTER TABLE stock_movements ENABLE TRIGGER USER; UPDATE stock SET on_hand = 6"
    )
    rows = await sql.fetch("SELECT created_at FROM stock_movements ORDER BY number")
    assert rows[0]["created_at"] == rows[1]["created_at"]


async def test_positions_keep_the_order_of_a_product_whatever_its_ids(
    sql: Any, stocked: Stocked
) -> None:
    """On a distributed engine ids grow per node: a store that moved gets smaller ones."""
    await sql.execute("SELECT setval('stock_movements_movement_id_seq', 1000)")
    await stocked({"a": 1})
    await sql.execute("UPDATE stock SET on_hand = 2")
    await sql.execute("SELECT setval('stock_movements_movement_id_seq', 1)")
    await sql.execute("UPDATE stock SET on_hand = 3")
    await sql.execute("UPDATE stock SET on_hand = 4")
    for _ in range(2):
        await sql.execute("SELECT sequence_movements('main', 3)")
    rows = await sql.fetch("SELECT number FROM stock_movements ORDER BY position")
    assert [row["number"] for row in rows] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "statement",
    [
        PAIR,
        "UPDATE stock_movements SET number = 7",
        "UPDATE stock SET product_id = 'b' WHERE product_id = 'a'",
    ],
)
async def test_nobody_writes_history_by_hand(sql: Any, stocked: Stocked, statement: str) -> None:
    await stocked({"a": 5})
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=" of stock"):
        await sql.execute(statement)


@pytest.mark.parametrize(
    ("damage", "violation"),
    [
        (
            "UPDATE stock SET on_hand = 6; UPDATE stock SET on_hand = 5;"
            f"UPDATE stock SET on_hand = 7; {OPEN}"
            "DELETE FROM stock_movements WHERE number IN (2, 3)",
            ("movement_follows_the_last", "a", "2", "4"),
        ),
        (
            "UPDATE stock SET on_hand = 6; SELECT sequence_movements('main');"
            f"UPDATE stock SET on_hand = 5; SELECT sequence_movements('main'); {OPEN}"
            "DELETE FROM stock_movements WHERE number = 2",
            ("positions_have_no_gap", "main", "2", "3"),
        ),
        (
            f"{OPEN} {PAIR}; UPDATE stock_movements SET number = number + 5 WHERE number > 1",
            ("movement_follows_the_last", "a", "2", "7"),
        ),
        (
            f"{OPEN} UPDATE stock_movements SET delta = 4; UPDATE stock SET on_hand = 6",
            ("movement_continues_the_last", "a/1", "4", "5"),
        ),
    ],
)
async def test_a_gap_or_a_forged_row_is_seen(
    sql: Any, stocked: Stocked, damage: str, violation: tuple[str, ...]
) -> None:
    await stocked({"a": 5})
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute(damage)
    rows = [tuple(row) for row in await sql.fetch(VIOLATIONS)]
    await transaction.rollback()
    assert violation in rows


async def test_the_upgrade_counts_the_movements_that_are_there(cluster: str) -> None:
    async with empty_database(cluster) as url:
        config = migrate.alembic_config(url)
        await asyncio.to_thread(command.upgrade, config, "head")
        async with connected(url, OWNER) as owner:
            await owner.execute("SELECT create_store('main')")
            await owner.execute(
                "INSERT INTO products (store_id, product_id) VALUES ('main', 'a'), ('main', 'b')"
            )
            for quantity in range(1, 4):
                await owner.execute("UPDATE stock SET on_hand = $1", quantity)
            counted = "SELECT product_id, number, delta FROM stock_movements ORDER BY 1, 2"
            before = await owner.fetch(counted)
        await asyncio.to_thread(migrate.downgrade, url, revision_before("movement_numbers"))
        await migrate.upgrade_in_thread(url)
        async with connected(url, OWNER) as owner:
            assert await owner.fetch(counted) == before
            assert [row["number"] for row in before] == [1, 2, 3] * 2
            await owner.execute("UPDATE stock SET on_hand = 9")
            assert await owner.fetchval("SELECT max(number) FROM stock_movements") == 4
            assert await owner.fetch(VIOLATIONS) == []
