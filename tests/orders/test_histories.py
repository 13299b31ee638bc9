"""Random histories of orders, accounts and stock equal a sequential model, over the API."""

import random
from typing import Any

import pytest

from tests.support.order_model import PRICES, Model, Order
from tests.support.orders import Shop


async def step(shop: Shop, model: Model, ids: list[str], account_id: int, chance: Any) -> None:
    """One verb of the history, in both worlds."""
    order_id = chance.choice(ids)
    order = model.orders[order_id]
    product_id, units = chance.choice(list(PRICES)), chance.randrange(6)
    verb = chance.choice(["add", "add", "set", "checkout", "pay", "cancel", "lapse", "refund"])
    restock = chance.random() < 0.5
    if verb == "lapse":
        await shop.lapse(order_id)
        if chance.random() < 0.5:
            await shop.sweep()
        model.lapse(order)
    elif verb == "add":
        answer = await shop.add(order_id, product_id, units + 1)
        assert answer[0] == model.add(order, product_id, units + 1)
    elif verb == "set":
        answer = await shop.set(order_id, product_id, units)
        assert answer[0] == model.set(order, product_id, units)
    elif verb == "refund":
        answer = await shop.refund(order_id, (product_id, units + 1, restock))
        assert answer[0] == model.refund(order, product_id, units + 1, restock)
    elif verb == "pay":
        assert (await shop.pay(order_id, account_id=account_id))[0] == model.pay(order)
    else:
        answer = await shop.do(verb, order_id)
        assert answer[0] == getattr(model, verb)(order)


@pytest.mark.parametrize("seed", range(6))
async def test_random_histories_equal_the_model(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    _, account_id, ann = await shop.customer(balance=2000)
    model = Model(2000)
    ids: list[str] = []
    for number in range(60):
        if number % 10 == 0:
            ids.append(await shop.order(ann))
            model.orders[ids[-1]] = Order()
        await step(shop, model, ids, account_id, chance)
        levels = {p: (model.on_hand[p], model.available(p)) for p in PRICES}
        assert await shop.levels() == levels
        assert await shop.balance(account_id) == model.balance
    for order_id, order in model.orders.items():
        found = await shop.read(order_id)
        assert found["status"] == order.status
        assert {line["product_id"]: line["quantity"] for line in found["lines"]} == order.lines
