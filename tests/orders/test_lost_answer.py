"""The answer to an addition is lost: the caller is told to read the order before repeating."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.aliases import Serve
from tests.support.orders import API, Shop, open_shop
from tests.support.proxy import Link, link_to
from tests.support.waits import becomes

UNITS = "SELECT COALESCE(sum(quantity), 0) FROM order_lines"
WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted"


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Link]:
    async with link_to(dsn) as link:
        yield link


@pytest.fixture
async def shop(serve: Serve, link: Link, sql: Any) -> Shop:
    return await open_shop(await serve(link.url), sql)


async def lost(shop: Shop, link: Link, order_id: str, key: str = "") -> tuple[int, Any]:
    """What is answered to an addition that was committed, where the server's answer was lost."""
    body = {"order_id": order_id, "nomenclature_id": "tea", "quantity": 1}
    headers = shop.staff | ({"Idempotency-Key": key} if key else {})
    async with shop.sql.transaction():
        await shop.sql.execute("LOCK TABLE orders")
        sent = asyncio.create_task(shop.api.post(f"{API}/order", json=body, headers=headers))
        await becomes(lambda: shop.sql.fetchval(WAITING))
        link.to_client.clear()
    if not key:
        await becomes(lambda: shop.sql.fetchval(UNITS))
    link.cut()
    response = await sent
    link.heal()
    return response.status, await response.json()


async def test_without_a_key_the_order_is_to_be_read_before_repeating(
    shop: Shop, link: Link
) -> None:
    order_id = await shop.order()
    status, answer = await lost(shop, link, order_id)
    assert (status, answer["code"]) == (503, "outcome_unknown")
    assert f"GET /orders/{order_id} first" in answer["detail"]
    assert (await shop.read(order_id))["total"] == 100


async def test_with_a_key_a_repeat_adds_once(shop: Shop, link: Link) -> None:
    order_id = await shop.order()
    status, answer = await lost(shop, link, order_id, "k1")
    assert status == 503
    assert "first" not in answer["detail"]
    body = {"order_id": order_id, "nomenclature_id": "tea", "quantity": 1}
    headers = shop.staff | {"Idempotency-Key": "k1"}
    assert (await shop.send("POST", "/order", headers, json=body))[0] == 201
    assert (await shop.read(order_id))["total"] == 100
