"""Orders over HTTP: whose they are, what they hold and cost, how they are paid and given back."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Connect, Serve
from tests.support.builders import bearer, create_key, create_user, token_of
from tests.support.orders import ANN, Answer, Shop, code_of, open_shop

BIG = 9223372036854775807
FULL = {"tea": (10, 10), "milk": (10, 10), "salt": (10, 10)}


async def test_an_order_is_made_once_and_found_again(shop: Shop) -> None:
    body = {"order_id": "A-1", "client": ANN}
    first = await shop.send("POST", "/orders", json=body)
    assert first[0] == 201
    assert first[1]["client"] == ANN | {"client_id": first[1]["client"]["client_id"]}
    assert (first[1]["lines"], first[1]["total"], first[1]["expires_at"]) == ([], 0, None)
    assert await shop.send("POST", "/orders", json=body) == (200, first[1])
    other = body | {"client": ANN | {"address": "Harbour 2"}}
    assert code_of(await shop.send("POST", "/orders", json=other)) == (409, "order_id_reused")
    assert code_of(await shop.send("POST", "/orders", json={})) == (422, "invalid_request")
    second = await shop.read(await shop.order())
    assert second["client"] == first[1]["client"]
    assert second["number"] > first[1]["number"]


async def test_twins_make_one_order_and_one_client(shop: Shop) -> None:
    body = {"order_id": "A-1", "client": ANN}
    answers = await asyncio.gather(
        *(shop.send("POST", "/orders", json=body) for _ in range(10)),
        *(shop.send("POST", "/orders", json={"client": ANN}) for _ in range(10)),
    )
    assert Counter(status for status, _ in answers) == {201: 11, 200: 9}
    assert await shop.sql.fetchval("SELECT count(*) FROM clients") == 1


async def test_a_line_grows_and_keeps_the_price_of_its_first_unit(shop: Shop) -> None:
    order_id = await shop.order()
    assert await shop.add(order_id, "tea", 2) == (
        201,
        {"order_id": order_id, "product_id": "tea", "quantity": 2, "price_at_purchase": 100},
    )
    await shop.sql.execute("UPDATE products SET price = 150 WHERE product_id = 'tea'")
    status, line = await shop.add(order_id, "tea")
    assert (status, line["quantity"], line["price_at_purchase"]) == (201, 3, 100)
    order = await shop.read(order_id)
    assert (order["total"], order["version"]) == (300, 3)
    assert (await shop.levels())["tea"] == (10, 7)


async def test_refusals_of_an_addition_say_the_earlier_words(shop: Shop) -> None:
    order_id = await shop.order()
    for answer, code, detail in (
        (await shop.add("ghost", "tea"), "unknown_order", "Order with specified ID does not exist"),
        (
            await shop.add(order_id, "ghost"),
            "unknown_product",
            "Nomenclature with specified ID does not exist",
        ),
        (await shop.add(order_id, "tea", 11), "insufficient_stock", "Not enough stock in stock"),
    ):
        assert (answer[1]["code"], answer[1]["detail"]) == (code, detail)
        assert answer[0] == (409 if code == "insufficient_stock" else 404)
    assert (await shop.read(order_id))["lines"] == []


async def test_what_has_no_price_or_is_not_offered_is_not_sold(shop: Shop) -> None:
    order_id = await shop.order(tea=1)
    await shop.sql.execute("UPDATE products SET price = NULL WHERE product_id = 'tea'")
    await shop.sql.execute("UPDATE products SET is_active = false WHERE product_id = 'milk'")
    for answer in (await shop.add(order_id, "tea"), await shop.set(order_id, "tea", 2)):
        assert code_of(answer) == (409, "not_for_sale")
    for answer in (await shop.add(order_id, "milk"), await shop.set(order_id, "milk", 2)):
        assert code_of(answer) == (404, "unknown_product")


async def test_setting_holds_more_gives_back_and_removes(shop: Shop) -> None:
    order_id = await shop.order(tea=2)
    assert (await shop.set(order_id, "tea", 10))[1]["total"] == 1000
    assert code_of(await shop.set(order_id, "tea", 11)) == (409, "insufficient_stock")
    assert (await shop.levels())["tea"] == (10, 0)
    assert (await shop.set(order_id, "tea", 4))[0] == 200
    assert (await shop.levels())["tea"] == (10, 6)
    assert (await shop.set(order_id, "milk", 1))[1]["total"] == 430
    status, order = await shop.send("DELETE", f"/orders/{order_id}/lines/tea")
    assert (status, order["total"], len(order["lines"])) == (200, 30, 1)
    for answer in (
        await shop.send("DELETE", f"/orders/{order_id}/lines/tea"),
        await shop.set(order_id, "ghost", 0),
    ):
        assert code_of(answer) == (404, "unknown_line")
    assert (await shop.set(order_id, "milk", 0))[1]["lines"] == []
    assert await shop.levels() == FULL
    assert (await shop.add(order_id, "salt"))[0] == 201


async def test_only_the_orders_own_verbs_resolve_its_hold(shop: Shop) -> None:
    order_id = await shop.order(tea=2)
    for verb, body in (("commit", {}), ("release", {}), ("extend", {"ttl_seconds": 60})):
        path = f"/reservations/order:{order_id}/{verb}"
        answer = await shop.send("POST", path, json=body)
        assert code_of(answer) == (409, "held_by_order"), answer


async def test_an_account_pays_and_the_goods_leave_once(shop: Shop) -> None:
    _, account_id, ann = await shop.customer()
    order_id = await shop.order(ann, tea=2, milk=1)
    first = await shop.pay(order_id, ann, account_id=account_id)
    assert code_of(first) == (200, "paid")
    assert (first[1]["paid_from"], first[1]["reference"]) == ("account", None)
    assert await shop.pay(order_id, ann, account_id=account_id) == first
    assert await shop.balance(account_id) == 770
    assert await shop.levels() == {"tea": (8, 8), "milk": (9, 9), "salt": (10, 10)}
    entries = await shop.sql.fetch("SELECT amount, reference FROM account_entries WHERE amount < 0")
    assert [tuple(entry) for entry in entries] == [(-230, order_id)]
    assert await shop.events() == ["order.paid"]
    price = "SELECT price FROM reservations WHERE product_id = 'tea'"
    assert await shop.sql.fetchval(price) == 100


async def test_too_little_money_leaves_all_as_it_was(shop: Shop) -> None:
    _, account_id, ann = await shop.customer(balance=99)
    order_id = await shop.order(ann, tea=1)
    status, refusal = await shop.pay(order_id, ann, account_id=account_id)
    assert (status, refusal["code"]) == (402, "insufficient_funds")
    assert (refusal["total"], refusal["balance"]) == (100, 99)
    assert (await shop.read(order_id))["status"] == "open"


async def test_an_owned_order_is_paid_from_its_owners_accounts_alone(shop: Shop) -> None:
    _, anns, ann = await shop.customer("ann")
    _, bobs, bob = await shop.customer("bob")
    order_id = await shop.order(ann, tea=1)
    assert code_of(await shop.pay(order_id, account_id=bobs)) == (404, "unknown_account")
    assert code_of(await shop.pay(order_id, ann, account_id=bobs)) == (404, "unknown_account")
    assert code_of(await shop.pay(order_id, bob, account_id=bobs)) == (404, "unknown_order")
    assert code_of(await shop.pay(order_id, account_id=anns)) == (200, "paid")
    nobodys = await shop.order(tea=1)
    assert code_of(await shop.pay(nobodys, account_id=bobs)) == (200, "paid")


async def test_money_taken_outside_is_written_down_by_staff_and_keys(shop: Shop) -> None:
    _, account_id, ann = await shop.customer()
    order_id = await shop.order(ann, tea=1)
    assert code_of(await shop.pay(order_id, ann, reference="cash")) == (403, "forbidden")
    both = await shop.pay(order_id, reference="cash", account_id=account_id)
    assert code_of(both) == (422, "invalid_request")
    key = bearer(await create_key(shop.sql))
    status, order = await shop.pay(order_id, key, reference="cash")
    assert (status, order["paid_from"], order["reference"]) == (200, "outside", "cash")
    assert await shop.balance(account_id) == 1000
    assert (await shop.refund(order_id, ("tea", 1, False)))[1]["refunded_total"] == 100
    assert await shop.balance(account_id) == 1000


async def test_a_total_of_nothing_writes_no_entry(shop: Shop) -> None:
    await shop.sql.execute("UPDATE products SET price = 0 WHERE product_id = 'tea'")
    _, account_id, ann = await shop.customer()
    order_id = await shop.order(ann, tea=3)
    assert code_of(await shop.pay(order_id, ann, account_id=account_id)) == (200, "paid")
    assert (await shop.refund(order_id, ("tea", 3, True)))[0] == 200
    assert await shop.sql.fetchval("SELECT count(*) FROM account_entries") == 1


async def test_refunds_give_back_money_and_units_and_no_more_than_there_were(shop: Shop) -> None:
    _, account_id, ann = await shop.customer()
    order_id = await shop.order(ann, tea=3, milk=2)
    await shop.pay(order_id, ann, account_id=account_id)
    status, order = await shop.refund(
        order_id, ("tea", 1, True), ("tea", 1, False), ("milk", 2, True)
    )
    assert (status, order["status"], order["refunded_total"]) == (200, "paid", 260)
    assert {line["product_id"]: line["refunded"] for line in order["lines"]} == {
        "tea": 2,
        "milk": 2,
    }
    assert await shop.balance(account_id) == 900
    assert await shop.levels() == {"tea": (8, 8), "milk": (10, 10), "salt": (10, 10)}
    status, refusal = await shop.refund(order_id, ("tea", 1, True), ("milk", 1, True))
    assert (status, refusal["code"], refusal["product_id"]) == (409, "refund_too_large", "milk")
    assert refusal["left_over"] == 0
    assert code_of(await shop.refund(order_id, ("salt", 1, True))) == (404, "unknown_line")
    assert (await shop.refund(order_id, ("tea", 1, False)))[1]["refunded_total"] == 360
    reasons = await shop.sql.fetch(
        "SELECT reason, reference, sum(delta) FROM stock_movements"
        " WHERE reason IN ('commit', 'return') GROUP BY 1, 2 ORDER BY 1"
    )
    hold = f"order:{order_id}"
    assert [tuple(row) for row in reasons] == [("commit", hold, -5), ("return", hold, 3)]
    assert await shop.events() == ["order.paid", "order.refunded", "order.refunded"]


async def test_a_refund_under_a_key_happens_once(shop: Shop) -> None:
    order_id = await shop.order(tea=5)
    await shop.pay(order_id)
    headers = shop.staff | {"Idempotency-Key": "r1"}
    body = {"lines": [{"product_id": "tea", "quantity": 2, "restock": True}]}
    path = f"/orders/{order_id}/refund"
    first = await shop.send("POST", path, headers, json=body)
    assert await shop.send("POST", path, headers, json=body) == first
    assert (await shop.read(order_id))["refunded_total"] == 200
    _, _, ann = await shop.customer()
    assert code_of(await shop.send("POST", path, ann, json=body)) == (403, "forbidden")


async def test_totals_never_overflow(shop: Shop) -> None:
    await shop.sql.execute("UPDATE products SET price = $1 WHERE product_id = 'tea'", BIG)
    order_id = await shop.order(tea=1)
    for answer in (
        await shop.add(order_id, "tea"),
        await shop.add(order_id, "milk"),
        await shop.set(order_id, "tea", 2),
    ):
        assert code_of(answer) == (422, "out_of_range")
    assert (await shop.read(order_id))["total"] == BIG
    assert (await shop.levels())["tea"] == (10, 9)
    await shop.pay(order_id)
    again = await shop.order(tea=1)
    assert code_of(await shop.pay(again)) == (200, "paid")  # the day's amount is no bigint


async def test_cancelling_gives_back_and_tells_once(shop: Shop) -> None:
    order_id = await shop.order(tea=2)
    first = await shop.do("cancel", order_id)
    assert await shop.do("cancel", order_id) == first
    assert await shop.levels() == FULL
    assert await shop.events() == ["order.cancelled"]


async def test_a_customers_order_lapses_others_do_not(shop: Shop) -> None:
    _, _, ann = await shop.customer()
    mine, theirs = await shop.order(ann, tea=1), await shop.order(tea=1)
    seconds = (
        "SELECT round(extract(epoch FROM expires_at - clock_timestamp()) / 60)::int"
        " FROM reservations WHERE reservation_id = 'order:' || $1"
    )
    assert await shop.sql.fetchval(seconds, mine) == 30
    assert await shop.sql.fetchval(seconds, theirs) is None


@pytest.mark.parametrize(("setting", "expected"), [(600, 10), (0, None), (7200, 60)])
async def test_the_setting_says_how_long_an_order_holds(
    serve: Serve, sql: Any, setting: int, expected: int | None
) -> None:
    shop = await open_shop(await serve(order_hold_seconds=setting, max_hold_seconds=3600), sql)
    _, _, ann = await shop.customer()
    for headers in (ann, None):
        order_id = await shop.order(headers, tea=1)
        minutes = await sql.fetchval(
            "SELECT round(extract(epoch FROM expires_at - clock_timestamp()) / 60)::int"
            " FROM reservations WHERE reservation_id = 'order:' || $1",
            order_id,
        )
        assert minutes == expected


async def test_every_touch_prolongs_a_hold_up_to_its_maximum(shop: Shop) -> None:
    _, _, ann = await shop.customer()
    order_id = await shop.order(ann, tea=1, milk=1)
    age = (
        "UPDATE reservations SET expires_at = expires_at - interval '20 minutes',"
        " created_at = created_at - $2::interval WHERE reservation_id = 'order:' || $1"
    )
    touches: tuple[Callable[[], Awaitable[Answer]], ...] = (
        lambda: shop.add(order_id, "tea", 1, ann),
        lambda: shop.set(order_id, "milk", 1, ann),
        lambda: shop.do("checkout", order_id, ann),
    )
    for touch in touches:
        await shop.sql.execute(age, order_id, timedelta(minutes=20))
        before = (await shop.read(order_id))["expires_at"]
        assert (await touch())[0] in (200, 201)
        assert (await shop.read(order_id))["expires_at"] > before
    await shop.sql.execute(age, order_id, timedelta(days=1))
    before = (await shop.read(order_id))["expires_at"]
    assert (await shop.do("checkout", order_id, ann))[0] == 200
    assert (await shop.read(order_id))["expires_at"] == before


async def test_an_expired_order_is_told_once_and_resuming_tells_nobody(shop: Shop) -> None:
    _, _, ann = await shop.customer()
    order_id = await shop.order(ann, tea=2)
    await shop.lapse(order_id)
    assert (await shop.read(order_id))["status"] == "expired"
    assert (await shop.levels())["tea"] == (10, 10)
    assert (await shop.sweep(), await shop.sweep()) == (1, 0)
    assert await shop.events() == ["order.expired"]
    assert code_of(await shop.do("checkout", order_id)) == (200, "open")
    assert await shop.events() == ["order.expired"]
    document = await shop.sql.fetchval("SELECT document FROM find_lapsed_orders()")
    assert document == "[]"


async def test_the_list_is_by_number_and_of_one_state_or_client(shop: Shop) -> None:
    _, _, ann = await shop.customer()
    mine = [await shop.order(ann, tea=1), await shop.order(ann, milk=1)]
    theirs = await shop.order(salt=1)
    await shop.lapse(mine[0])
    await shop.pay(mine[1])

    async def ids(query: str, headers: dict[str, str] | None = None) -> list[str]:
        _, page = await shop.send("GET", f"/orders{query}", headers)
        return [order["order_id"] for order in page["orders"]]

    assert await ids("") == [*mine, theirs]
    assert await ids("", ann) == mine
    assert await ids("?status=expired") == [mine[0]]
    assert await ids("?status=paid") == [mine[1]]
    assert await ids("?status=open") == [theirs]
    assert await ids("?client=Ann") == [theirs]
    assert await ids("?client=ann") == mine
    _, page = await shop.send("GET", "/orders?limit=2")
    assert await ids(f"?after={page['next']}") == [theirs]


async def test_anothers_order_is_404_on_every_route(shop: Shop) -> None:
    _, account_id, _ = await shop.customer("ann")
    _, _, bob = await shop.customer("bob")
    await create_user(shop.sql, "north", "admin", "north")
    north = bearer(
        await token_of(shop.sql, shop.api, await create_user(shop.sql, "n", "staff", "north"))
    )
    order_id = await shop.order(tea=1)
    path = f"/orders/{order_id}"
    for headers, prefix in ((bob, ""), (north, "/stores/north")):
        for method, more, body in (
            ("GET", "", None),
            ("PUT", "/lines/tea", {"quantity": 1}),
            ("DELETE", "/lines/tea", None),
            ("POST", "/checkout", None),
            ("POST", "/pay", {"account_id": account_id}),
            ("POST", "/cancel", None),
        ):
            how = {} if body is None else {"json": body}
            answer = await shop.send(method, prefix + path + more, headers, **how)
            assert code_of(answer) == (404, "unknown_order"), (method, more)
        line = {"order_id": order_id, "nomenclature_id": "tea", "quantity": 1}
        answer = await shop.send("POST", f"{prefix}/order", headers, json=line)
        assert code_of(answer) == (404, "unknown_order")
    refund = {"lines": [{"product_id": "tea", "quantity": 1}]}
    answer = await shop.send("POST", f"/stores/north{path}/refund", north, json=refund)
    assert code_of(answer) == (404, "unknown_order")
    assert (await shop.send("GET", "/orders", bob))[1]["orders"] == []


async def test_development_asks_no_key_for_orders_but_for_money(shop: Shop) -> None:
    body = {"client": ANN}
    status, order = await shop.send("POST", "/orders", {}, json=body)
    assert status == 201
    assert (await shop.add(order["order_id"], "tea", 1, {}))[0] == 201
    assert code_of(await shop.pay(order["order_id"], {})) == (401, "unauthorized")
    path = f"/orders/{order['order_id']}/refund"
    refund = {"lines": [{"product_id": "tea", "quantity": 1}]}
    assert (await shop.send("POST", path, {}, json=refund))[0] == 401


async def test_at_most_100_lines(shop: Shop) -> None:
    await shop.priced({f"p{n}": 1 for n in range(101)})
    order_id = await shop.order(None, **{f"p{n}": 1 for n in range(100)})
    for answer in (await shop.add(order_id, "p100"), await shop.set(order_id, "p100", 1)):
        assert code_of(answer) == (422, "invalid_request")
    assert (await shop.set(order_id, "p0", 2))[0] == 200


async def test_a_reader_sees_orders_and_that_nothing_is_broken(
    shop: Shop, connect_as: Connect
) -> None:
    await shop.pay(await shop.order(tea=1))
    await shop.order(milk=1)
    reader = await connect_as("reader")
    assert await reader.fetch("SELECT * FROM invariant_violations") == []
    for table in ("orders", "order_lines", "client_sales", "top_products"):
        assert await reader.fetch(f"SELECT * FROM {table}"), table


GUARDED = {
    "a paid order": "UPDATE orders SET total = 1 WHERE status = 'paid'",
    "its status": "UPDATE orders SET status = 'cancelled', paid_at = NULL",
    "an order": "DELETE FROM orders",
    "all orders": "TRUNCATE orders CASCADE",
    "a line": "UPDATE order_lines SET quantity = 9",
    "a line's row": "DELETE FROM order_lines",
    "a refund": "UPDATE order_refunds SET amount = 0",
    "sales": "UPDATE product_sales SET units = 0",
}


@pytest.mark.parametrize("statement", GUARDED.values(), ids=GUARDED)
async def test_what_was_cannot_be_changed_by_hand(shop: Shop, statement: str) -> None:
    order_id = await shop.order(tea=2)
    await shop.pay(order_id)
    await shop.refund(order_id, ("tea", 1, True))
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await shop.sql.execute(statement)


FORGED = {
    "order_holds_its_lines": "UPDATE order_lines SET quantity = 5 WHERE order_id = 'open'",
    "order_total_is_its_lines": "UPDATE orders SET total = 5 WHERE order_id = 'open'",
    "paid_order_left_the_stock": "UPDATE order_lines SET quantity = 5 WHERE order_id = 'paid'",
    "order_is_paid_once": "UPDATE orders SET refunded_total = 5 WHERE order_id = 'paid'",
    "line_is_refunded_as_written": "UPDATE order_lines SET refunded = 0 WHERE order_id = 'paid'",
    "restocked_units_came_back": "UPDATE order_refunds SET is_restocked = false",
    "sales_are_what_orders_say": "UPDATE product_sales SET units = 9",
}


@pytest.mark.parametrize("invariant", FORGED)
async def test_a_forgery_is_found(shop: Shop, invariant: str) -> None:
    _, account_id, _ = await shop.customer()
    for order_id in ("open", "paid"):
        await shop.send("POST", "/orders", json={"order_id": order_id, "client": ANN})
        await shop.add(order_id, "tea", 2)
    await shop.pay("paid", account_id=account_id)
    await shop.refund("paid", ("tea", 1, True))
    transaction = shop.sql.transaction()
    await transaction.start()
    await shop.sql.execute("SELECT set_change_context('a forger', 'order')")
    await shop.sql.execute("ALTER TABLE order_refunds DISABLE TRIGGER USER")
    await shop.sql.execute(FORGED[invariant])
    found = await shop.sql.fetch("SELECT invariant FROM invariant_violations")
    assert invariant in {row["invariant"] for row in found}
    await transaction.rollback()


async def test_the_newest_orders_come_first(shop: Shop) -> None:
    first, second = await shop.order(tea=1), await shop.order(tea=1)
    await shop.pay(first)
    newest = {"params": {"sort": "newest"}}
    _, page = await shop.send("GET", "/orders", **newest)
    assert [each["order_id"] for each in page["orders"]] == [second, first]
    assert page["next"] is None
    newest["params"]["status"] = "paid"
    _, page = await shop.send("GET", "/orders", **newest)
    assert [each["order_id"] for each in page["orders"]] == [first]
    code = "SELECT result_code FROM latest_orders('nowhere', NULL, NULL, NULL, 1)"
    assert await shop.sql.fetchval(code) == "unknown_store"
