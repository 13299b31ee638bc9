"""Random histories of orders, accounts and stock equal a sequential model, over the API."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support.orders import Shop

PRICES = {"tea": 100, "milk": 30, "salt": 7}
Lines = dict[str, int]


@dataclass
class Order:
    """What a client wants, and what became of it."""

    lines: Lines = field(default_factory=dict)
    refunded: Lines = field(default_factory=dict)
    status: str = "open"


class Model:
    """One order after another, without locks or time: statuses of answers out."""

    def __init__(self, balance: int) -> None:
        self.on_hand = dict.fromkeys(PRICES, 10)
        self.orders: dict[str, Order] = {}
        self.balance = balance

    def available(self, product_id: str) -> int:
        held = (o.lines.get(product_id, 0) for o in self.orders.values() if o.status == "open")
        return self.on_hand[product_id] - sum(held)

    def hold(self, order: Order, lines: Lines) -> bool:
        """Let an order hold these lines, all or nothing."""
        mine = order.lines if order.status == "open" else {}
        if any(self.available(p) + mine.get(p, 0) < units for p, units in lines.items()):
            return False
        order.lines, order.status = lines, "open"
        return True

    def add(self, order: Order, product_id: str, units: int) -> int:
        if order.status in ("paid", "cancelled"):
            return 409
        grown = order.lines | {product_id: order.lines.get(product_id, 0) + units}
        return 201 if self.hold(order, grown) else 409

    def set(self, order: Order, product_id: str, units: int) -> int:
        if order.status in ("paid", "cancelled"):
            return 409
        if units == 0 and product_id not in order.lines:
            return 404
        lines = {p: n for p, n in (order.lines | {product_id: units}).items() if n}
        if order.status == "expired":
            order.lines = lines
            return 200
        return 200 if self.hold(order, lines) else 409

    def checkout(self, order: Order) -> int:
        if order.status in ("paid", "cancelled") or not order.lines:
            return 409
        return 200 if self.hold(order, order.lines) else 409

    def pay(self, order: Order) -> int:
        if order.status == "paid":
            return 200
        if order.status != "open" or not order.lines:
            return 409
        total = sum(PRICES[p] * n for p, n in order.lines.items())
        if total > self.balance:
            return 402
        self.balance -= total
        for product_id, units in order.lines.items():
            self.on_hand[product_id] -= units
        order.status = "paid"
        return 200

    def cancel(self, order: Order) -> int:
        if order.status != "paid":
            order.status = "cancelled"
        return 409 if order.status == "paid" else 200

    def lapse(self, order: Order) -> None:
        if order.status == "open" and order.lines:
            order.status = "expired"

    def refund(self, order: Order, product_id: str, units: int, restock: bool) -> int:
        if order.status != "paid":
            return 409
        if product_id not in order.lines:
            return 404
        if units > order.lines[product_id] - order.refunded.get(product_id, 0):
            return 409
        order.refunded[product_id] = order.refunded.get(product_id, 0) + units
        self.balance += PRICES[product_id] * units
        self.on_hand[product_id] += units if restock else 0
        return 200


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
