"""The states of an order, verb by verb: the table of docs/orders.md."""

from typing import Any

import pytest

from tests.support.orders import Shop, code_of

CLOSED = (409, "order_closed")
STATES = {
    "add": {
        "empty": (201, "line"),
        "open": (201, "line"),
        "lapsed": (201, "line"),
        "expired": (201, "line"),
        "paid": CLOSED,
        "cancelled": CLOSED,
    },
    "set": {
        "empty": (200, "open"),
        "open": (200, "open"),
        "lapsed": (200, "expired"),
        "expired": (200, "expired"),
        "paid": CLOSED,
        "cancelled": CLOSED,
    },
    "remove": {
        "empty": (404, "unknown_line"),
        "open": (200, "open"),
        "lapsed": (200, "expired"),
        "expired": (200, "expired"),
        "paid": CLOSED,
        "cancelled": CLOSED,
    },
    "checkout": {
        "empty": (409, "order_empty"),
        "open": (200, "open"),
        "lapsed": (200, "open"),
        "expired": (200, "open"),
        "paid": CLOSED,
        "cancelled": CLOSED,
    },
    "pay": {
        "empty": (409, "order_empty"),
        "open": (200, "paid"),
        "lapsed": (409, "order_expired"),
        "expired": (409, "order_expired"),
        "paid": (200, "paid"),
        "cancelled": CLOSED,
    },
    "pay otherwise": {
        "empty": (409, "order_empty"),
        "open": (200, "paid"),
        "lapsed": (409, "order_expired"),
        "expired": (409, "order_expired"),
        "paid": CLOSED,
        "cancelled": CLOSED,
    },
    "cancel": {
        "empty": (200, "cancelled"),
        "open": (200, "cancelled"),
        "lapsed": (200, "cancelled"),
        "expired": (200, "cancelled"),
        "paid": CLOSED,
        "cancelled": (200, "cancelled"),
    },
    "refund": {
        "empty": (409, "order_not_paid"),
        "open": (409, "order_not_paid"),
        "lapsed": (409, "order_not_paid"),
        "expired": (409, "order_not_paid"),
        "paid": (200, "paid"),
        "cancelled": (409, "order_not_paid"),
    },
}


async def in_state(shop: Shop, state: str) -> str:
    """An order of a customer's that has come into a state by its verbs."""
    _, _, customer = await shop.customer(f"ann-{state}")
    order_id = await shop.order(customer, **({} if state == "empty" else {"tea": 2, "milk": 1}))
    if state in ("lapsed", "expired"):
        await shop.lapse(order_id)
    if state == "expired":
        assert await shop.sweep() == 1
    if state == "paid":
        assert code_of(await shop.pay(order_id)) == (200, "paid")
    if state == "cancelled":
        assert code_of(await shop.do("cancel", order_id)) == (200, "cancelled")
    return order_id


async def do(shop: Shop, verb: str, order_id: str) -> Any:
    answers = {
        "add": lambda: shop.add(order_id, "salt"),
        "set": lambda: shop.set(order_id, "milk", 3),
        "remove": lambda: shop.send("DELETE", f"/orders/{order_id}/lines/tea"),
        "checkout": lambda: shop.do("checkout", order_id),
        "pay": lambda: shop.pay(order_id),
        "pay otherwise": lambda: shop.pay(order_id, reference="invoice 9"),
        "cancel": lambda: shop.do("cancel", order_id),
        "refund": lambda: shop.refund(order_id, ("tea", 1, True)),
    }
    return await answers[verb]()


@pytest.mark.parametrize("verb", STATES)
@pytest.mark.parametrize("state", STATES["add"])
async def test_a_verb_answers_as_the_state_says(shop: Shop, state: str, verb: str) -> None:
    order_id = await in_state(shop, state)
    before = await shop.read(order_id)
    answer = await do(shop, verb, order_id)
    assert code_of(answer) == STATES[verb][state]
    if answer[0] >= 400:
        assert await shop.read(order_id) == before


@pytest.mark.parametrize("state", ["lapsed", "expired"])
async def test_an_expired_order_is_taken_up_whole_or_all_that_is_short_is_named(
    shop: Shop, state: str
) -> None:
    order_id = await in_state(shop, state)
    assert await shop.levels() == {"tea": (10, 10), "milk": (10, 10), "salt": (10, 10)}
    for product_id in ("tea", "milk"):
        assert (
            await shop.send(
                "POST",
                "/stores/main",
                json={"operation": "demand", "item_id": product_id, "quantity": 10},
            )
        )[0] == 200
    for answer in (await shop.add(order_id, "salt"), await shop.do("checkout", order_id)):
        assert code_of(answer) == (409, "insufficient_stock")
        assert [line["product_id"] for line in answer[1]["lines"]] == ["milk", "tea"]
    assert (await shop.read(order_id))["status"] == "expired"

    for product_id in ("tea", "milk"):
        await shop.send(
            "POST",
            "/stores/main",
            json={"operation": "supply", "item_id": product_id, "quantity": 3},
        )
    await shop.sql.execute("UPDATE products SET price = 999 WHERE product_id = 'tea'")
    assert (await shop.add(order_id, "tea"))[0] == 201
    order = await shop.read(order_id)
    assert (order["status"], order["total"]) == ("open", 330)  # at the lines' prices
    assert await shop.levels() == {"tea": (3, 0), "milk": (3, 2), "salt": (10, 10)}


async def test_lines_of_an_expired_order_change_and_hold_nothing(shop: Shop) -> None:
    order_id = await in_state(shop, "expired")
    assert (await shop.set(order_id, "tea", 9))[1]["total"] == 930
    assert (await shop.set(order_id, "salt", 2))[0] == 200
    assert (await shop.set(order_id, "milk", 0))[0] == 200
    assert await shop.levels() == {"tea": (10, 10), "milk": (10, 10), "salt": (10, 10)}
    assert code_of(await shop.do("checkout", order_id)) == (200, "open")
    assert await shop.levels() == {"tea": (10, 1), "milk": (10, 10), "salt": (10, 8)}
