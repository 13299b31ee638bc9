"""Random histories of the functions of orders against a sequential model."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from service.database.connections import connected
from service.results import RESULTS
from tests.support.builders import create_user
from tests.support.order_model import PRICES, Model, Order

orders = st.sampled_from([f"A-{n}" for n in range(4)])
products = st.sampled_from(list(PRICES))
units = st.integers(1, 6)


class Histories(RuleBasedStateMachine):
    """Four orders, three products, one account; each example in a store of its own."""

    runner: ClassVar[asyncio.Runner]
    connection: ClassVar[Any]
    stores: ClassVar[int] = 0

    def fetch(self, query: str, *arguments: Any) -> Any:
        async def wait() -> Any:
            return await self.connection.fetch(query, *arguments)

        return self.runner.run(wait())

    def status(self, call: str, *arguments: Any) -> int:
        """The status that the code of a call of a function means."""
        (row,) = self.fetch(f"SELECT result_code FROM {call}", self.store, *arguments)
        return RESULTS[row["result_code"]].status

    @initialize(lifetime=st.sampled_from([None, 600]), balance=st.sampled_from([200, 2000]))
    def open_store(self, lifetime: int | None, balance: int) -> None:
        type(self).stores += 1
        self.store, self.lifetime = f"s{self.stores}", lifetime or 0
        self.model = Model(balance)
        self.fetch("SELECT create_store($1)", self.store)
        self.fetch(
            "INSERT INTO products (store_id, product_id, price)"
            " SELECT $1, n.id, n.price FROM unnest($2::text[], $3::bigint[]) AS n (id, price)",
            *(self.store, list(PRICES), list(PRICES.values())),
        )
        self.fetch("UPDATE stock SET on_hand = 10 WHERE store_id = $1", self.store)
        user_id = self.runner.run(create_user(self.connection, "ann", store_id=self.store))
        (account,) = self.fetch(
            "INSERT INTO accounts (store_id, user_id, bill_id, balance)"
            " VALUES ($1, $2, 'bill', $3) RETURNING account_id",
            *(self.store, user_id, balance),
        )
        self.account_id = account["account_id"]
        for number in range(4):
            order_id = f"A-{number}"
            self.model.orders[order_id] = Order()
            assert self.status("create_order($1, $2, 'Ann', '', NULL, 'tests')", order_id) == 201

    @rule(order_id=orders, product_id=products, quantity=units)
    def add(self, order_id: str, product_id: str, quantity: int) -> None:
        found = self.status(
            "add_to_order($1, $2, $3, $4, NULL, $5, 86400, 'tests')",
            *(order_id, product_id, quantity, self.lifetime),
        )
        assert found == self.model.add(self.model.orders[order_id], product_id, quantity)

    @rule(order_id=orders, product_id=products, quantity=st.integers(0, 6))
    def set(self, order_id: str, product_id: str, quantity: int) -> None:
        found = self.status(
            "set_order_line($1, $2, $3, $4, NULL, $5, 86400, 'tests')",
            *(order_id, product_id, quantity, self.lifetime),
        )
        assert found == self.model.set(self.model.orders[order_id], product_id, quantity)

    @rule(order_id=orders)
    def checkout(self, order_id: str) -> None:
        found = self.status(
            "checkout_order($1, $2, NULL, $3, 86400, 'tests')", order_id, self.lifetime
        )
        assert found == self.model.checkout(self.model.orders[order_id])

    @rule(order_id=orders)
    def pay(self, order_id: str) -> None:
        call = "pay_order($1, $2, NULL, $3, NULL, 'tests')"
        found = self.status(call, order_id, self.account_id)
        assert found == self.model.pay(self.model.orders[order_id])

    @rule(order_id=orders)
    def cancel(self, order_id: str) -> None:
        found = self.status("cancel_order($1, $2, NULL, 'tests')", order_id)
        assert found == self.model.cancel(self.model.orders[order_id])

    @rule(order_id=orders, is_swept=st.booleans())
    def lapse(self, order_id: str, is_swept: bool) -> None:
        self.fetch(
            "UPDATE reservations SET created_at = created_at - interval '1 day',"
            " expires_at = COALESCE(expires_at, statement_timestamp()) - interval '1 day'"
            " WHERE store_id = $1 AND reservation_id = 'order:' || $2 AND status = 'held'",
            *(self.store, order_id),
        )
        if is_swept:
            assert self.status("lapse_orders($1)") == 200
        self.model.lapse(self.model.orders[order_id])

    @rule(order_id=orders, product_id=products, quantity=units, restock=st.booleans())
    def refund(self, order_id: str, product_id: str, quantity: int, restock: bool) -> None:
        lines = [{"product_id": product_id, "quantity": quantity, "restock": restock}]
        found = self.status("refund_order($1, $2, $3, 'tests')", order_id, json.dumps(lines))
        order = self.model.orders[order_id]
        assert found == self.model.refund(order, product_id, quantity, restock)

    @invariant()
    def nothing_is_broken(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.fetch("SELECT * FROM stock_levels WHERE store_id = $1", self.store)
        assert {row["product_id"]: (row["on_hand"], row["available"]) for row in rows} == {
            product: (self.model.on_hand[product], self.model.available(product))
            for product in PRICES
        }
        rows = self.fetch(
            "SELECT id, document FROM order_documents($1, $2)", self.store, list(self.model.orders)
        )
        for row in rows:
            document, order = json.loads(row["document"]), self.model.orders[row["id"]]
            lines = {line["product_id"]: line["quantity"] for line in document["lines"]}
            assert (document["status"], lines) == (order.status, order.lines)
        (account,) = self.fetch("SELECT balance FROM accounts WHERE store_id = $1", self.store)
        assert account["balance"] == self.model.balance
        broken = "SELECT * FROM invariant_violations WHERE store_id = $1"
        assert self.fetch(broken, self.store) == []


@pytest.fixture
def histories(dsn: str) -> Any:
    """The machine on a connection and an event loop of its own: Hypothesis runs it in steps."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        Histories.runner = runner
        Histories.connection = runner.run(
            stack.enter_async_context(connected(dsn, "holdfast_owner"))
        )
        yield Histories
        runner.run(stack.aclose())


def test_functions_answer_as_the_model(histories: Any) -> None:
    run_state_machine_as_test(
        histories,
        settings=settings(
            max_examples=40,
            stateful_step_count=15,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
