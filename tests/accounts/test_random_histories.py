"""Random histories of payments and purchases, up to four at once, against a sequential model.

What callers were answered at once, and what the tables hold then, must be what the model gives for
the same calls one after another, in some order.
"""

import asyncio
from contextlib import AsyncExitStack
from copy import deepcopy
from itertools import count, permutations
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.database.connections import connected

PRICES = {"p0": 3, "p1": 0, "p2": None}
BILLS = ["b0", "b1", "b2"]
AT_ONCE = 4

PAY = "SELECT result_code FROM receive_payment($1, $2, $3, $4, $5)"
BUY = (
    "SELECT result_code FROM buy_product($1, $2, $3,"
    " (SELECT account_id FROM accounts WHERE store_id = $1 AND bill_id = $4), $5)"
)
SUPPLY = (
    "UPDATE stock SET on_hand = on_hand + $3 WHERE store_id = $1 AND product_id = $2 RETURNING 'ok'"
)

users, bills, products = st.integers(0, 1), st.sampled_from(BILLS), st.sampled_from([*PRICES])
transactions = st.sampled_from([f"t{n}" for n in range(6)])
buy = st.tuples(
    st.just("buy"), users, st.one_of(products, st.just("none")), bills, st.integers(1, 4)
)
pay = st.tuples(st.just("pay"), transactions, users, bills, st.integers(1, 9))
supply = st.tuples(st.just("supply"), products, st.integers(1, 3))
rounds = st.lists(
    st.lists(st.one_of(pay, pay, buy, buy, supply), min_size=1, max_size=AT_ONCE), max_size=10
)


class Model:
    """What one call after another should be answered."""

    def __init__(self) -> None:
        self.accounts: dict[str, tuple[int, int]] = {}
        self.on_hand = dict.fromkeys(PRICES, 2)
        self.paid: dict[str, tuple[int, str, int]] = {}

    def pay(self, transaction: str, user: int, bill: str, amount: int) -> str:
        if transaction in self.paid:
            is_same = self.paid[transaction] == (user, bill, amount)
            return "already_paid" if is_same else "transaction_id_reused"
        owner, balance = self.accounts.get(bill, (user, 0))
        if owner != user:
            return "bill_id_taken"
        self.accounts[bill] = user, balance + amount
        self.paid[transaction] = user, bill, amount
        return "ok"

    def buy(self, user: int, product: str, bill: str, quantity: int) -> str:
        if product not in PRICES:
            return "unknown_product"
        if (price := PRICES[product]) is None:
            return "not_for_sale"
        owner, balance = self.accounts.get(bill, (None, 0))
        if owner != user:
            return "unknown_account"
        if self.on_hand[product] < quantity:
            return "insufficient_stock"
        if balance < price * quantity:
            return "insufficient_funds"
        self.on_hand[product] -= quantity
        self.accounts[bill] = user, balance - price * quantity
        return "ok"

    def supply(self, product: str, quantity: int) -> str:
        self.on_hand[product] += quantity
        return "ok"

    def after(self, calls: list[Any], order: tuple[int, ...]) -> tuple["Model", list[str]]:
        """The model after some calls in an order, and what each was answered."""
        model, codes = deepcopy(self), [""] * len(calls)
        for number in order:
            name, *arguments = calls[number]
            codes[number] = getattr(model, name)(*arguments)
        return model, codes


class Store:
    """A store of an example's own, and as many connections as there are calls at once."""

    def __init__(self, store_id: str, connections: list[Any]) -> None:
        self.store_id, self.connections = store_id, connections

    async def open(self) -> None:
        first = self.connections[0]
        await first.execute("SELECT create_store($1)", self.store_id)
        await first.execute(
            "INSERT INTO products (store_id, product_id, price)"
            " SELECT $1, * FROM unnest($2::text[], $3::bigint[])",
            *(self.store_id, list(PRICES), list(PRICES.values())),
        )
        await first.execute("UPDATE stock SET on_hand = 2 WHERE store_id = $1", self.store_id)
        new_user = (
            "INSERT INTO users (store_id, login, password_hash) VALUES ($1, $2, '')"
            " RETURNING user_id"
        )
        self.users = [await first.fetchval(new_user, self.store_id, login) for login in "ab"]

    async def call(self, connection: Any, name: str, *arguments: Any) -> str:
        if name == "supply":
            return str(await connection.fetchval(SUPPLY, self.store_id, *arguments))
        place = 0 if name == "buy" else 1
        values = [*arguments[:place], self.users[arguments[place]], *arguments[place + 1 :]]
        while True:
            try:
                statement = BUY if name == "buy" else PAY
                return str(await connection.fetchval(statement, self.store_id, *values))
            except asyncpg.UniqueViolationError:
                continue  # a twin was quicker: as the service does, ask what it committed

    async def at_once(self, calls: list[Any]) -> list[str]:
        pairs = zip(self.connections, calls, strict=False)
        return await asyncio.gather(*(self.call(each, *call) for each, call in pairs))

    async def state(self) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
        """Owner and balance of every bill, units of every product."""
        first = self.connections[0]
        accounts = await first.fetch(
            "SELECT bill_id, user_id, balance FROM accounts WHERE store_id = $1", self.store_id
        )
        stock = await first.fetch(
            "SELECT product_id, on_hand FROM stock WHERE store_id = $1", self.store_id
        )
        broken = "SELECT * FROM invariant_violations WHERE store_id = $1"
        assert await first.fetch(broken, self.store_id) == []
        owned = {bill: (self.users.index(user), balance) for bill, user, balance in accounts}
        return owned, dict(stock)


def test_what_happens_at_once_is_as_if_one_after_another(dsn: str) -> None:
    numbers = count(1)

    async def play(connections: list[Any], history: list[list[Any]]) -> None:
        store, model = Store(f"s{next(numbers)}", connections), Model()
        await store.open()
        for calls in history:
            codes = await store.at_once(calls)
            accounts, on_hand = await store.state()
            for order in permutations(range(len(calls))):
                after, expected = model.after(calls, order)
                if (expected, after.accounts, after.on_hand) == (codes, accounts, on_hand):
                    break
            else:
                raise AssertionError(f"no order of {calls} gives {codes}, {accounts}, {on_hand}")
            model = after

    stack = AsyncExitStack()

    async def open_all() -> list[Any]:
        return [
            await stack.enter_async_context(connected(dsn, "holdfast_owner"))
            for _ in range(AT_ONCE)
        ]

    with asyncio.Runner() as runner:
        connections = runner.run(open_all())

        @settings(
            max_examples=100,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(history=rounds)
        def histories(history: list[list[Any]]) -> None:
            runner.run(play(connections, history))

        histories()
        runner.run(stack.aclose())
