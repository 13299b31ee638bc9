"""The revision that makes orders, taken back: what open ones held can be had, the books agree."""

import asyncio
from typing import Any

from service.database import migrate
from tests.support.databases import revision_before
from tests.support.orders import Shop

BEFORE = revision_before("orders")
REASONS = "SELECT DISTINCT reason FROM {} WHERE reference LIKE '%A-%' ORDER BY 1"


async def test_what_orders_did_is_kept_as_the_release_before_can_tell_it(
    shop: Shop, dsn: str, sql: Any
) -> None:
    _, account_id, ann = await shop.customer()
    for order_id in ("A-1", "A-2"):
        await shop.send("POST", "/orders", ann, json={"order_id": order_id})
        assert (await shop.add(order_id, "tea", 2, ann))[0] == 201
    await shop.pay("A-1", ann, account_id=account_id)
    await shop.refund("A-1", ("tea", 1, True))
    await asyncio.to_thread(migrate.downgrade, dsn, BEFORE)
    query = "SELECT on_hand, reserved FROM stock WHERE product_id = 'tea'"
    assert tuple(await sql.fetchrow(query)) == (9, 0)
    assert await shop.balance(account_id) == 900
    for table, reasons in (
        ("stock_movements", ["demand", "supply"]),
        ("account_entries", ["adjustment"]),
    ):
        rows = await sql.fetch(REASONS.format(table))
        assert [row["reason"] for row in rows] == reasons
    await migrate.upgrade_in_thread(dsn)
    assert await sql.fetch("SELECT * FROM invariant_violations") == []
