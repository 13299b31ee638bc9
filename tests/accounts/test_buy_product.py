"""POST /api/v1/products/buy, alone and in a crowd: money and stock go together or not at all."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Api, Connect, NewAccount, NewUser, Stocked
from tests.support.builders import callback
from tests.support.waits import becomes, certain, until_waiting

SignedIn = Callable[..., dict[str, str]]

BUY = "/api/v1/products/buy"


class Shop:
    """A store with product 7 at 250, and a user with one account."""

    def __init__(self, api: Api, headers: dict[str, str], user_id: int, account_id: int) -> None:
        self.api, self.headers = api, headers
        self.user_id, self.account_id = user_id, account_id

    async def buy(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        body = {"product_id": "7", "account_id": self.account_id} | changes
        return await certain(lambda: self.api.post(BUY, json=body, headers=self.headers))


@pytest.fixture
async def open_shop(
    api: Api,
    signed_in: SignedIn,
    stocked: Stocked,
    new_user: NewUser,
    new_account: NewAccount,
    sql: Any,
) -> Callable[[int, int], Awaitable[Shop]]:
    """open_shop(units, money)."""

    async def prepare(units: int, money: int) -> Shop:
        await stocked({"7": units})
        await sql.execute("UPDATE products SET price = 250")
        user_id = await new_user("ann")
        return Shop(api, signed_in(user_id), user_id, await new_account(user_id, money))

    return prepare


OpenShop = Callable[[int, int], Awaitable[Shop]]


async def left(sql: Any) -> tuple[int, int]:
    """Units on hand, money in all accounts."""
    row = await sql.fetchrow(
        "SELECT (SELECT sum(on_hand)::bigint FROM stock), (SELECT sum(balance)::bigint"
        " FROM accounts)"
    )
    return row[0], row[1]


async def test_a_purchase_takes_money_and_units(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(5, 1000)
    status, body = await shop.buy(quantity=3)
    assert status == 200
    assert body.pop("created_at").endswith("Z")
    purchase_id = body.pop("purchase_id")
    assert body == {
        "product_id": "7",
        "account_id": shop.account_id,
        "quantity": 3,
        "price_at_purchase": 250,
        "total": 750,
        "balance": 250,
    }
    assert await left(sql) == (2, 250)
    row = await sql.fetchrow("SELECT * FROM purchases")
    assert (row["purchase_id"], row["user_id"], row["quantity"]) == (purchase_id, shop.user_id, 3)
    actor = f"user:{shop.user_id}"
    entry = await sql.fetchrow("SELECT * FROM account_entries ORDER BY number DESC LIMIT 1")
    assert (entry["amount"], entry["balance_after"], entry["transaction_id"]) == (-750, 250, None)
    movement = await sql.fetchrow("SELECT * FROM stock_movements ORDER BY number DESC LIMIT 1")
    assert (movement["delta"], movement["on_hand_after"]) == (-3, 2)
    for row in (entry, movement):
        found = (row["reason"], row["reference"], row["actor"])
        assert found == ("purchase", str(purchase_id), actor)


async def test_a_purchase_is_told_to_webhooks_and_waits_for_them(
    open_shop: OpenShop, sql: Any
) -> None:
    shop = await open_shop(5, 1000)
    bought = (await shop.buy(quantity=3))[1]
    assert (await shop.buy(quantity=3))[0] == 409
    (message,) = await sql.fetch("SELECT * FROM outbox")
    payload = json.loads(message["payload"])
    assert (message["channel"], payload["type"]) == ("webhook", "purchase.made")
    assert payload["data"] == {
        "purchase_id": bought["purchase_id"],
        "user_id": shop.user_id,
        "account_id": shop.account_id,
        "product_id": "7",
        "quantity": 3,
        "price_at_purchase": 250,
        "total": 750,
        "created_at": bought["created_at"],
    }
    assert (message["delivered_at"], message["dead_at"]) == (None, None)
    assert await sql.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_one_unit_is_bought_where_no_quantity_is_given(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(5, 1000)
    assert (await shop.buy())[0] == 200
    assert await left(sql) == (4, 750)


async def test_the_ledgers_are_not_told_about_what_comes_after(
    open_shop: OpenShop, sql: Any
) -> None:
    shop = await open_shop(5, 1000)
    async with sql.transaction():
        call = "SELECT result_code FROM buy_product('main', $1, '7', $2, 1)"
        assert await sql.fetchval(call, shop.user_id, shop.account_id) == "ok"
        await sql.execute("UPDATE accounts SET balance = 1; UPDATE stock SET on_hand = 1")
    for table, key in (("account_entries", "number"), ("stock_movements", "number")):
        row = await sql.fetchrow(f"SELECT * FROM {table} ORDER BY {key} DESC LIMIT 1")
        assert (row["reason"], row["reference"]) == ("adjustment", None)
        assert not row["actor"].startswith("user:")


async def test_too_little_money_is_402_and_says_how_much(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(5, 499)
    status, body = await shop.buy(quantity=2)
    assert status == 402
    assert body == {
        "status": "error",
        "code": "insufficient_funds",
        "message": "Not enough money.",
        "detail": f"500 minor units needed, account {shop.account_id} has 499.",
        "store_id": "main",
        "product_id": "7",
        "account_id": shop.account_id,
        "quantity": 2,
        "total": 500,
        "balance": 499,
    }
    assert await left(sql) == (5, 499)


async def test_a_total_beyond_every_number_is_402(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(2147483647, 9223372036854775807)
    await sql.execute("UPDATE products SET price = 9223372036854775807")
    status, body = await shop.buy(quantity=2147483647)
    assert (status, body["code"]) == (402, "insufficient_funds")
    assert (await shop.buy())[0] == 200
    assert await left(sql) == (2147483646, 0)


async def test_too_little_stock_is_409_and_says_how_much(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(2, 1000)
    status, body = await shop.buy(quantity=3)
    assert (status, body["code"], body["available"]) == (409, "insufficient_stock", 2)
    assert body["detail"] == "3 of product 7 requested, 2 available."
    assert await left(sql) == (2, 1000)


async def test_what_is_held_cannot_be_bought_and_what_has_lapsed_can(
    open_shop: OpenShop, sql: Any
) -> None:
    shop = await open_shop(4, 1000)
    await sql.fetch("SELECT * FROM reserve_stock('main', '1', '7', 2)")
    await sql.fetch("SELECT * FROM reserve_stock('main', '2', '7', 2, NULL, '1 microsecond')")
    assert (await shop.buy(quantity=3))[0] == 409
    assert (await shop.buy(quantity=2))[0] == 200
    assert await left(sql) == (2, 500)


async def test_what_costs_nothing_needs_no_money_and_writes_no_entry(
    open_shop: OpenShop, sql: Any
) -> None:
    shop = await open_shop(2, 0)
    await sql.execute("UPDATE products SET price = 0")
    assert (await shop.buy(quantity=2))[0] == 200
    assert await sql.fetchval("SELECT count(*) FROM account_entries") == 0
    assert await left(sql) == (0, 0)


async def test_what_has_no_price_is_not_for_sale(open_shop: OpenShop, sql: Any) -> None:
    """B1: what supply creates was to be had for nothing."""
    shop = await open_shop(5, 1000)
    supply = {"operation": "supply", "item_id": "new", "quantity": 3}
    assert (await shop.api.post("/api/v1/stores/main", json=supply)).status == 200
    await sql.execute("UPDATE products SET price = NULL WHERE product_id = '7'")
    for product_id in ("7", "new"):
        status, body = await shop.buy(product_id=product_id, quantity=99)
        assert (status, body["code"]) == (409, "not_for_sale")
        assert body["detail"] == f"Product {product_id} has no price yet."
    assert await left(sql) == (8, 1000)
    assert await sql.fetchval("SELECT count(*) FROM purchases") == 0


async def test_a_purchase_keeps_its_price(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(2, 1000)
    await shop.buy()
    await sql.execute("UPDATE products SET price = 1")
    assert await sql.fetchval("SELECT price_at_purchase FROM purchases") == 250


async def test_unknown_things_and_those_of_others_are_404(
    open_shop: OpenShop,
    new_user: NewUser,
    new_account: NewAccount,
    stocked: Stocked,
    sql: Any,
) -> None:
    shop = await open_shop(2, 1000)
    others = await new_account(await new_user("bob"), 1000, "b2")
    await stocked({"8": 2})
    await sql.execute("UPDATE products SET is_active = false WHERE product_id = '8'")
    for change, code in (
        ({"product_id": "9"}, "unknown_product"),
        ({"product_id": "8"}, "unknown_product"),
        ({"account_id": 404}, "unknown_account"),
        ({"account_id": others}, "unknown_account"),
    ):
        status, body = await shop.buy(**change)
        assert (status, body["code"]) == (404, code)
    foreign = await shop.buy(account_id=others)
    unknown = await shop.buy(account_id=others + 1)
    assert str(foreign).replace(str(others), "N") == str(unknown).replace(str(others + 1), "N")
    body = {"product_id": "7", "account_id": shop.account_id}
    nowhere = "/api/v1/stores/nowhere/products/buy"
    response = await shop.api.post(nowhere, json=body, headers=shop.headers)
    assert (response.status, (await response.json())["code"]) == (404, "not_found")
    assert await left(sql) == (4, 2000)


async def test_who_has_not_signed_in_buys_nothing(open_shop: OpenShop) -> None:
    shop = await open_shop(2, 1000)
    shop.headers = {}
    assert (await shop.buy())[0] == 401


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 1.0},
        {"quantity": "1"},
        {"quantity": True},
        {"quantity": 2147483648},
        {"account_id": 0},
        {"account_id": "1"},
        {"account_id": 9223372036854775808},
        {"product_id": 7},
        {"product_id": "a:b"},
        {"price": 1},
        {"user_id": 1},
    ],
)
async def test_wrong_fields_are_422(open_shop: OpenShop, sql: Any, change: dict[str, Any]) -> None:
    shop = await open_shop(2, 1000)
    status, body = await shop.buy(**change)
    assert (status, body["code"]) == (422, "invalid_body")
    assert [error["field"] for error in body["errors"]] == list(change)
    assert await left(sql) == (2, 1000)


@pytest.mark.parametrize("quantity", ["NULL", "0", "-1", "2147483648"])
async def test_the_function_refuses_nonsense_itself(
    open_shop: OpenShop, sql: Any, quantity: str
) -> None:
    shop = await open_shop(2, 1000)
    call = f"SELECT result_code FROM buy_product('main', $1, '7', $2, {quantity})"
    assert await sql.fetchval(call, shop.user_id, shop.account_id) == "invalid_request"


async def buy_all(shops: list[Shop], **changes: Any) -> Counter[tuple[int, str]]:
    answers = await asyncio.gather(*(shop.buy(**changes) for shop in shops))
    return Counter((status, body.get("code", "ok")) for status, body in answers)


async def test_100_purchases_of_the_last_unit_one_gets_it(
    open_shop: OpenShop,
    signed_in: SignedIn,
    new_user: NewUser,
    new_account: NewAccount,
    sql: Any,
) -> None:
    shop = await open_shop(1, 1000)
    shops = [shop] * 10
    for n in range(90):
        user_id = await new_user(f"user{n}")
        account_id = await new_account(user_id, 1000, f"bill{n}")
        shops.append(Shop(shop.api, signed_in(user_id), user_id, account_id))
    assert await buy_all(shops) == {(200, "ok"): 1, (409, "insufficient_stock"): 99}
    assert await left(sql) == (0, 91 * 1000 - 250)
    assert await sql.fetchval("SELECT count(*) FROM purchases") == 1


async def test_100_purchases_with_money_for_one_one_is_made(
    open_shop: OpenShop, stocked: Stocked, sql: Any
) -> None:
    shop = await open_shop(1000, 499)
    await stocked({str(product): 1000 for product in range(100, 120)})
    await sql.execute("UPDATE products SET price = 250")
    purchases = [
        shop.buy(product_id=str(100 + n % 20)) if n % 2 else shop.buy() for n in range(100)
    ]
    answers = await asyncio.gather(*purchases)
    codes = Counter((status, body.get("code", "ok")) for status, body in answers)
    assert codes == {(200, "ok"): 1, (402, "insufficient_funds"): 99}
    assert await left(sql) == (21 * 1000 - 1, 249)
    assert await sql.fetchval("SELECT count(*) FROM purchases") == 1


async def test_a_purchase_with_a_key_is_made_once(open_shop: OpenShop, sql: Any) -> None:
    shop = await open_shop(5, 1000)
    shop.headers |= {"Idempotency-Key": "cart-1"}
    answers = await asyncio.gather(*(shop.buy() for _ in range(10)))
    codes = {(status, body.get("code", "ok")) for status, body in answers}
    assert codes <= {(200, "ok"), (409, "request_in_progress")}
    assert await shop.buy() == next(answer for answer in answers if answer[0] == 200)
    assert (await shop.buy(quantity=2))[1]["code"] == "idempotency_key_reused"
    assert await left(sql) == (4, 750)

    shop.headers |= {"Idempotency-Key": "cart-2"}
    assert (await shop.buy(quantity=5))[1]["code"] == "insufficient_stock"
    await sql.execute("UPDATE stock SET on_hand = 5; UPDATE accounts SET balance = 1250")
    assert (await shop.buy(quantity=5))[0] == 200


async def test_credits_and_debits_of_one_account_at_once_add_up(
    open_shop: OpenShop, connect_as: Connect, sql: Any
) -> None:
    """FAULTS 9, with a DBA among them."""
    shop = await open_shop(1000, 0)
    pay = "SELECT result_code FROM receive_payment('main', $1, $2, 'b1', 100)"

    async def credit(seed: int) -> int:
        connection = await connect_as("service")
        for n in range(20):
            assert await connection.fetchval(pay, f"{seed}-{n}", shop.user_id) == "ok"
        return 2000

    async def correct() -> int:
        connection = await connect_as("owner")
        for _ in range(20):
            await connection.execute("UPDATE accounts SET balance = balance + 1")
        return 20

    async def debit() -> int:
        answers = [await shop.buy() for _ in range(10)]
        assert {status for status, _ in answers} <= {200, 402}
        return -250 * sum(status == 200 for status, _ in answers)

    changes = await asyncio.gather(*map(credit, range(3)), correct(), *(debit() for _ in range(6)))
    units = 1000 - await sql.fetchval("SELECT count(*) FROM purchases")
    assert await left(sql) == (units, sum(changes))
    assert await sql.fetchval("SELECT min(balance_after) FROM account_entries") >= 0
    rows = await sql.fetch("SELECT number FROM account_entries ORDER BY number")
    count = await sql.fetchval("SELECT entry_count FROM accounts")
    assert [row["number"] for row in rows] == list(range(1, count + 1))


async def second_with_the_last_money(connect_as: Connect, user_id: int, account_id: int) -> str:
    """The code of a purchase that comes while another, of another product, spends the money."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    buy = "SELECT result_code FROM buy_product('main', $1, $2, $3, 1)"
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval(buy, user_id, "7", account_id) == "ok"
    waiting = asyncio.create_task(second.fetchval(buy, user_id, "8", account_id))
    await until_waiting(first, second)
    await transaction.commit()
    return str(await waiting)


async def test_the_second_with_the_last_money_waits_and_is_told(
    connect_as: Connect, open_shop: OpenShop, stocked: Stocked, sql: Any
) -> None:
    shop = await open_shop(5, 250)
    await stocked({"8": 5})
    await sql.execute("UPDATE products SET price = 250")
    code = await second_with_the_last_money(connect_as, shop.user_id, shop.account_id)
    assert code == "insufficient_funds"


async def test_purchases_that_go_together_are_answered_as_one_by_one(
    open_shop: OpenShop, sql: Any
) -> None:
    """Each on what the earlier ones leave, and each with its own rows in both ledgers."""
    shop = await open_shop(6, 1000)
    rows = await sql.fetch(
        "SELECT a.code, a.document::text FROM buy_products('main', $1, $2, $3, $4) AS b,"
        " unnest(b.result_codes, b.documents) AS a (code, document)",
        [shop.user_id] * 7,
        ["7", "7", "nope", "7", "7", "7", "7"],
        [shop.account_id] * 6 + [shop.account_id + 1],
        [2, 7, 1, 3, 0, 1, 1],
    )
    assert [row["code"] for row in rows] == [
        *("ok", "insufficient_stock", "unknown_product", "insufficient_funds"),
        *("invalid_request", "ok", "unknown_account"),
    ]
    balances = [json.loads(row["document"])["balance"] for row in rows if row["code"] == "ok"]
    assert balances == [500, 250]
    assert json.loads(rows[1]["document"]) == {"available": 4}
    assert await left(sql) == (3, 250)
    ledger = "SELECT {}, reference FROM {} WHERE reason = 'purchase' ORDER BY number"
    units = await sql.fetch(ledger.format("delta", "stock_movements"))
    money = await sql.fetch(ledger.format("amount", "account_entries"))
    assert [row[0] for row in units] == [-2, -1]
    assert [row[0] for row in money] == [-500, -250]
    assert [row[1] for row in units] == [row[1] for row in money]


async def test_who_buys_with_a_locked_account_waits_aside_and_holds_up_nobody(
    open_shop: OpenShop, stocked: Stocked, connect_as: Connect
) -> None:
    shop = await open_shop(50, 1000)
    await stocked({"8": 5})
    locker = await connect_as("owner")
    async with locker.transaction():
        await locker.execute("SELECT FROM accounts FOR UPDATE")
        buying = asyncio.create_task(shop.buy())
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        await becomes(lambda: locker.fetchval(waiting))
        for number in ("1", "2"):
            body = callback(reservation_id=number, product_id="8", quantity=1)
            assert (await shop.api.post("/api/v1/reserve", json=body)).status == 200
        assert not buying.done()
    assert (await buying)[0] == 200


async def without(sql: Any, function: str, lock: str) -> None:
    """Take a lock out of a function."""
    body = await sql.fetchval("SELECT pg_get_functiondef($1::regproc)", function)
    assert body.count(lock) == 1
    await sql.execute(body.replace(lock, ""))


async def test_without_the_lock_the_second_decides_on_money_that_is_gone(
    connect_as: Connect, open_shop: OpenShop, stocked: Stocked, sql: Any
) -> None:
    """Shows that the race above is real: then only the CHECK constraint stops it."""
    shop = await open_shop(5, 250)
    await stocked({"8": 5})
    await sql.execute("UPDATE products SET price = 250")
    await without(sql, "buy_products", "FOR UPDATE")
    with pytest.raises(asyncpg.CheckViolationError, match="never_overdrawn"):
        await second_with_the_last_money(connect_as, shop.user_id, shop.account_id)


async def second_for_the_last_unit(connect_as: Connect, user_id: int, account_id: int) -> str:
    """The code of a purchase that comes while a reservation of the last unit is not committed."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    await first.fetch("SELECT * FROM reserve_stock('main', '1', '7', 1)")
    buy = "SELECT result_code FROM buy_product('main', $1, '7', $2, 1)"
    waiting = asyncio.create_task(second.fetchval(buy, user_id, account_id))
    await until_waiting(first, second)
    await transaction.commit()
    return str(await waiting)


async def test_who_buys_the_last_unit_while_it_is_being_held_waits_and_is_told(
    connect_as: Connect, open_shop: OpenShop
) -> None:
    shop = await open_shop(1, 1000)
    code = await second_for_the_last_unit(connect_as, shop.user_id, shop.account_id)
    assert code == "insufficient_stock"


async def test_without_the_lock_a_unit_being_held_would_be_sold(
    connect_as: Connect, open_shop: OpenShop, sql: Any
) -> None:
    shop = await open_shop(1, 1000)
    await without(sql, "buy_products", "PERFORM lock_stock(p_store_id, p_product_ids);")
    with pytest.raises(asyncpg.CheckViolationError, match="never_oversold"):
        await second_for_the_last_unit(connect_as, shop.user_id, shop.account_id)
