"""A shop without locks or time: what orders, stock and an account should be, verb by verb."""

from dataclasses import dataclass, field

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
