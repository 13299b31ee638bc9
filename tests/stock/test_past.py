"""What a store had at a moment: right whatever has happened since, and page by page."""

import asyncio
import json
import random
from datetime import datetime
from typing import Any

from tests.support.aliases import Stocked

PAST = "SELECT * FROM list_past_stock('main', $1)"
# Every reservation of the store is looked at, one by one.
PLAINLY = """
SELECT m.product_id, m.on_hand_after AS on_hand, COALESCE(h.quantity, 0)::bigint AS reserved,
    m.on_hand_after - COALESCE(h.quantity, 0)::bigint AS available
FROM (
    SELECT DISTINCT ON (product_id) product_id, on_hand_after FROM stock_movements
    WHERE created_at <= $1 ORDER BY product_id, number DESC
) AS m
LEFT JOIN (
    SELECT product_id, sum(quantity) AS quantity FROM reservations
    WHERE created_at <= $1 AND (closed_at IS NULL OR closed_at > $1)
        AND (expires_at IS NULL OR expires_at > $1)
    GROUP BY product_id
) AS h USING (product_id)
WHERE m.on_hand_after <> 0 ORDER BY m.product_id
"""


async def live_through(sql: Any) -> list[datetime]:
    """A random history of three products, some holds of which lapse; moments within it."""
    chance, moments, made = random.Random(7), [], list[str]()
    for step in range(80):
        product = chance.choice("abc")
        match chance.choice(["hold", "hold", "hold", "commit", "release", "supply", "demand"]):
            case "hold":
                made.append(f"r{step}")
                ttl = chance.choice([None, "60 ms", "1 day"])
                await sql.fetch(
                    "SELECT reserve_stock('main', $1, $2, $3, NULL, $4::text::interval)",
                    *(made[-1], product, chance.randint(1, 3), ttl),
                )
            case "commit" | "release" as verb if made:
                name = chance.choice(made)
                await sql.fetch(f"SELECT {verb}_reservation('main', $1, 'me')", name)
            case "supply" | "demand" as operation:
                await sql.fetch(
                    "SELECT move_stock('main', $1, $2, '{1}', NULL, 'me')", operation, [product]
                )
        moments.append(await sql.fetchval("SELECT clock_timestamp()"))
        await asyncio.sleep(0.004)
    return moments


async def test_the_past_is_what_was_then_whole_and_in_pages(sql: Any, stocked: Stocked) -> None:
    await stocked(dict.fromkeys("abc", 40))
    held = set()
    for at in await live_through(sql):
        expected = await sql.fetch(PLAINLY, at)
        assert await sql.fetch(PAST, at) == expected
        pages = []
        for after in ("", *"abc"):
            page = "SELECT * FROM list_past_stock('main', $1, $2, 1)"
            pages += [row for row in await sql.fetch(page, at, after) if row not in pages]
        assert pages == expected
        held |= {row["reserved"] for row in expected}
    assert len(held) > 5
    statuses = await sql.fetch("SELECT DISTINCT status::text FROM reservations")
    assert {row["status"] for row in statuses} >= {"held", "committed", "released", "expired"}


async def blocks(sql: Any, query: str) -> int:
    """How many pages of tables and indexes are read."""
    plan = json.loads(await sql.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}"))
    return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


async def test_a_page_of_the_past_looks_at_its_own_products(sql: Any, stocked: Stocked) -> None:
    await sql.execute("SET statement_timeout = 0")
    await stocked({f"p{number:05}": 1 for number in range(20_000)})
    await sql.execute("VACUUM ANALYZE")
    for after in ("", "p10000", "p19000"):
        page = f"SELECT * FROM list_stock('main', NULL, now(), '{after}', 100)"
        await blocks(sql, page)  # and the catalogs
        assert await blocks(sql, page) < 2_000  # of all 20,000 it is some 80,000
