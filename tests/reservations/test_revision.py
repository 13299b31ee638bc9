"""The revision that made one table of two: what was stored comes over, and goes back."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from alembic import command
from sqlalchemy.exc import DBAPIError

from service.database import migrate
from service.database.connections import connected
from service.database.roles import OWNER
from tests.support.aliases import Connect, Stocked
from tests.support.builders import lapse, reserve
from tests.support.databases import empty_database, revision_before

BEFORE = revision_before("one_table")

# Eight kinds of reservations in turn, n of each: what they are, and until when their lines hold.
FILL = """
INSERT INTO stores (store_id) VALUES ('main');
INSERT INTO products (store_id, product_id, price) SELECT 'main', n::text, 100
FROM generate_series(0, 99) AS n;
CREATE TEMPORARY TABLE made AS
SELECT n, format('r%s', n) AS reservation_id, n % 8 AS how,
    timestamptz '2026-01-01 00:00Z' + n * interval '1 s' AS created_at,
    CASE n % 8 WHEN 2 THEN timestamptz '2126-01-01 00:00Z'
        WHEN 5 THEN timestamptz '2026-06-01 00:00Z' WHEN 6 THEN timestamptz '2026-06-01 00:00Z'
        WHEN 7 THEN timestamptz '2026-06-01 00:00Z' END AS expires_at,
    CASE WHEN n % 8 IN (1, 3, 7) THEN 2 ELSE 1 END AS line_count
FROM generate_series(1, $count) AS n;
INSERT INTO reservations (store_id, reservation_id, kind, status, requested_at, created_at,
    expires_at, closed_at)
SELECT 'main', reservation_id, CASE how WHEN 0 THEN 'callback' ELSE 'hold' END,
    CASE how WHEN 3 THEN 'committed' WHEN 4 THEN 'released' WHEN 5 THEN 'expired' ELSE 'held' END,
    CASE how WHEN 0 THEN timestamptz '2026-01-01 10:00Z' END, created_at, expires_at,
    CASE how WHEN 3 THEN created_at WHEN 4 THEN created_at WHEN 5 THEN expires_at END
FROM made;
INSERT INTO reservation_lines (store_id, reservation_id, product_id, quantity, held_until)
SELECT 'main', reservation_id, ((n + line) % 100)::text, line,
    CASE WHEN how IN (3, 4, 5) OR how = 7 AND line = 2 THEN NULL
        ELSE COALESCE(expires_at, 'infinity') END
FROM made CROSS JOIN generate_series(1, 2) AS line WHERE line <= line_count;
INSERT INTO stock_movements (store_id, product_id, number, delta, on_hand_after, reason, actor)
SELECT 'main', n::text, 1, 1000000, 1000000, 'supply', 'test' FROM generate_series(0, 99) AS n;
INSERT INTO stock_movements
    (store_id, product_id, number, delta, on_hand_after, reason, reference, actor)
SELECT 'main', l.product_id, 1 + row_number() OVER w, -l.quantity,
    1000000 - sum(l.quantity) OVER w, 'commit', l.reservation_id, 'test'
FROM reservation_lines AS l JOIN made AS m USING (reservation_id) WHERE m.how = 3
WINDOW w AS (PARTITION BY l.product_id ORDER BY m.n);
INSERT INTO stock (store_id, product_id, on_hand, reserved)
SELECT 'main', n::text, 1000000 - COALESCE(g.quantity, 0), COALESCE(h.quantity, 0)
FROM generate_series(0, 99) AS n
LEFT JOIN (SELECT product_id, sum(quantity) AS quantity FROM reservation_lines
    WHERE held_until IS NOT NULL GROUP BY 1) AS h ON h.product_id = n::text
LEFT JOIN (SELECT product_id, -sum(delta) AS quantity FROM stock_movements
    WHERE reason = 'commit' GROUP BY 1) AS g ON g.product_id = n::text;
DROP TABLE made;
"""
STATES = ["held", "held", "held", "committed", "released", "expired", "expired", "expired"]
OLD = {
    "reservations": "SELECT r::text FROM reservations AS r ORDER BY 1",
    "lines": "SELECT l::text FROM reservation_lines AS l ORDER BY 1",
    "stock": "SELECT s::text FROM stock AS s ORDER BY 1",
}


@pytest.fixture
async def old(cluster: str) -> AsyncIterator[str]:
    """URL of a database as it was before the revision."""
    async with empty_database(cluster) as url:
        await asyncio.to_thread(command.upgrade, migrate.alembic_config(url), BEFORE)
        yield url


async def contents(url: str) -> dict[str, list[Any]]:
    """All rows of the old tables."""
    async with connected(url, OWNER, seconds=None) as owner:
        return {name: await owner.fetch(query) for name, query in OLD.items()}


@pytest.mark.parametrize("count", [800, pytest.param(1_000_000, marks=pytest.mark.faults)])
async def test_reservations_of_all_states_come_over_and_go_back(
    old: str, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connected(old, OWNER, seconds=None) as owner:
        await owner.execute(FILL.replace("$count", str(count)))
    before = await contents(old)
    began = time.monotonic()
    await asyncio.to_thread(command.upgrade, migrate.alembic_config(old), "+1")
    up = time.monotonic() - began
    await migrate.upgrade_in_thread(old)
    async with connected(old, OWNER, seconds=None) as owner:
        assert await owner.fetch("SELECT * FROM invariant_violations") == []
        rows = await owner.fetch(
            "SELECT status::text, kind::text, count(*) FROM reservation_summaries GROUP BY 1, 2"
        )
        assert {tuple(row) for row in rows} == {
            ("held", "callback", count // 8),
            ("held", "hold", count // 4),
            ("committed", "hold", count // 8),
            ("released", "hold", count // 8),
            ("expired", "hold", count // 8 * 3),
        }
        # What was given back before stays so; the rest of it can be had now.
        row = await owner.fetchrow(
            "SELECT array_agg(status::text ORDER BY line) AS statuses,"
            " bool_and(lifetime = expires_at - created_at AND made_by = 'unknown') AS is_told"
            " FROM reservations WHERE reservation_id = 'r7'"
        )
        assert tuple(row) == (["held", "expired"], True)
    began = time.monotonic()
    await asyncio.to_thread(migrate.downgrade, old, BEFORE)
    down = time.monotonic() - began
    assert await contents(old) == before
    if count > 1000:
        with capsys.disabled():
            print(f"\n{count:,} reservations: {up:.0f} s up, {down:.0f} s down and all before it")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "INSERT INTO reservations (store_id, reservation_id, kind)"
            " VALUES ('main', 'x', 'hold')",
            "no lines: main/x",
        ),
        (
            "UPDATE reservation_lines SET held_until = NULL WHERE reservation_id = 'r8'",
            "different things: main/r8",
        ),
        (
            "UPDATE reservation_lines SET held_until = 'infinity' WHERE reservation_id = 'r4'",
            "different things: main/r4",
        ),
        (
            "UPDATE reservation_lines SET held_until = now() WHERE reservation_id = 'r2'",
            "different things: main/r2",
        ),
    ],
)
async def test_what_the_two_tables_disagree_on_is_named(old: str, damage: str, said: str) -> None:
    async with connected(old, OWNER) as owner:
        await owner.execute(FILL.replace("$count", "16"))
        await owner.execute(damage)
    before = await contents(old)
    with pytest.raises(DBAPIError, match=said):
        await migrate.upgrade_in_thread(old)
    assert await contents(old) == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "ALTER TABLE reservations DISABLE TRIGGER USER;"
            "UPDATE reservations SET created_at = now() WHERE line = 2",
            "different things: main/basket",
        ),
        (
            "ALTER TABLE reservations DISABLE TRIGGER USER;"
            "UPDATE reservations SET product_id = 'a'",
            "two lines of one product: main/basket",
        ),
    ],
)
async def test_what_two_tables_cannot_hold_is_named(
    dsn: str, sql: Any, stocked: Stocked, connect_as: Connect, damage: str, said: str
) -> None:
    await stocked({"a": 5, "b": 5})
    await reserve(sql, ("basket", [("a", 1), ("b", 1)]))
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute(damage)
    await transaction.commit()
    with pytest.raises(DBAPIError, match=said):
        await asyncio.to_thread(migrate.downgrade, dsn, BEFORE)
    # Mended for the check that follows every test.
    await migrate.upgrade_in_thread(dsn)
    await sql.execute(
        "ALTER TABLE reservations DISABLE TRIGGER USER; DELETE FROM reservations;"
        "ALTER TABLE reservations ENABLE TRIGGER USER; UPDATE stock SET reserved = 0"
    )


async def test_what_was_extended_and_lapsed_goes_back_as_it_is(
    dsn: str, sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5, "b": 5})
    await sql.execute("SELECT reserve_stock('main', '1', 'a', 2, NULL, '1 hour')")
    await reserve(sql, ("2", [("a", 1), ("b", 1)]))
    await lapse(sql, "1")
    await sql.execute("SELECT lock_stock('main', ARRAY['a'])")
    await asyncio.to_thread(migrate.downgrade, dsn, BEFORE)
    rows = await sql.fetch(
        "SELECT reservation_id, status, closed_at = expires_at FROM reservations ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [("1", "expired", True), ("2", "held", None)]
    rows = await sql.fetch("SELECT held_until = 'infinity' FROM reservation_lines ORDER BY 1")
    assert [row[0] for row in rows] == [True, True, None]
    await migrate.upgrade_in_thread(dsn)
