"""The link to PostgreSQL is cut while money moves: what is answered is true, held to the rows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from tests.support.aliases import Api, NewAccount, NewUser, Serve, Stocked
from tests.support.builders import KEY, WEBHOOK, signed
from tests.support.proxy import Link, link_to
from tests.support.waits import becomes

BUY = "/api/v1/products/buy"
PURCHASES = "SELECT count(*) FROM purchases"
PAYMENTS = "SELECT count(*) FROM account_entries WHERE reason = 'payment'"

WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'accounts'::regclass AND NOT granted"
NOTHING_WAS_DONE = {"database_unavailable", "database_busy", "overloaded"}

Send = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Link]:
    async with link_to(dsn) as link:
        yield link


@pytest.fixture
async def api(serve: Serve, link: Link) -> Api:
    return await serve(link.url, payment_key=KEY)


@pytest.fixture
async def buy(
    api: Api,
    signed_in: Callable[..., dict[str, str]],
    stocked: Stocked,
    new_user: NewUser,
    new_account: NewAccount,
    sql: Any,
) -> Send:
    """buy(key, quantity=99): units of a product of which there are five, by way of the link."""
    await stocked({"7": 5})
    await sql.execute("UPDATE products SET price = 250")
    user_id = await new_user("ann")
    body = {"product_id": "7", "account_id": await new_account(user_id, 1000)}
    headers = signed_in(user_id)

    async def send(key: str = "", quantity: int = 1) -> Any:
        more = {"Idempotency-Key": key} if key else {}
        return await api.post(BUY, json=body | {"quantity": quantity}, headers=headers | more)

    return send


async def cut_after_commit(
    link: Link, send: Send, sql: Any, done: str
) -> tuple[int, dict[str, Any]]:
    """What is answered where only the server's answer was lost."""
    async with sql.transaction():
        await sql.execute("LOCK TABLE accounts")
        lost = asyncio.create_task(send())
        await becomes(lambda: sql.fetchval(WAITING))
        link.to_client.clear()
    await becomes(lambda: sql.fetchval(done))
    link.cut()
    response = await lost
    link.heal()
    return response.status, await response.json()


async def cut_before_arrival(link: Link, send: Send) -> tuple[int, dict[str, Any]]:
    """What is answered where the call itself was lost."""
    link.to_server.clear()
    lost = asyncio.create_task(send())
    await asyncio.sleep(0.2)
    link.cut()
    response = await lost
    link.heal()
    return response.status, await response.json()


async def test_who_buys_without_a_key_is_told_to_look_before_repeating(
    link: Link, buy: Send, sql: Any
) -> None:
    status, body = await cut_after_commit(link, buy, sql, PURCHASES)
    assert await sql.fetchval(PURCHASES) == 1
    assert (status, body["code"]) == (503, "outcome_unknown")
    assert "Repeating could buy twice: see GET /users/me first." in body["detail"]


async def test_a_purchase_that_never_arrived_is_not_said_to_be_made(
    link: Link, buy: Send, sql: Any
) -> None:
    assert (await buy(quantity=99)).status == 409
    status, body = await cut_before_arrival(link, buy)
    assert await sql.fetchval(PURCHASES) == 0
    assert (status, body["code"] in NOTHING_WAS_DONE | {"outcome_unknown"}) == (503, True)


async def test_who_buys_with_a_key_may_repeat(link: Link, buy: Send, sql: Any) -> None:
    for number, cut in enumerate((link.to_server, link.to_client), 1):
        assert (await buy("cart-0", quantity=99)).status == 409
        cut.clear()
        lost = asyncio.create_task(buy(f"cart-{number}"))
        await asyncio.sleep(0.2)
        link.cut()
        body = await (await lost).json()
        link.heal()
        made = await sql.fetchval(PURCHASES)
        assert body["code"] in NOTHING_WAS_DONE | {"outcome_unknown"}
        assert "could buy twice" not in body["detail"]
        assert made == number - 1 or body["code"] == "outcome_unknown"
        first, second = await buy(f"cart-{number}"), await buy(f"cart-{number}")
        assert (first.status, await first.read()) == (200, await second.read())
        assert await sql.fetchval(PURCHASES) == number


async def test_a_payment_whose_link_is_lost_may_be_repeated(
    api: Api, link: Link, new_user: NewUser, sql: Any
) -> None:
    content = signed(user_id=await new_user("ann"))
    refused = signed(user_id=content["user_id"] + 1)

    async def pay() -> Any:
        return await api.post(WEBHOOK, json=content)

    assert (await api.post(WEBHOOK, json=refused)).status == 404
    before = await cut_before_arrival(link, pay)
    assert await sql.fetchval(PAYMENTS) == 0
    after = await cut_after_commit(link, pay, sql, PAYMENTS)
    for status, body in (before, after):
        assert (status, body["code"]) == (503, "outcome_unknown")
        assert "Repeat with the same id or Idempotency-Key: it happens once." in body["detail"]
    assert (await pay()).status == 200
    assert await sql.fetchval(PAYMENTS) == 1
