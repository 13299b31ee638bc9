"""Random histories of reserve_stock_batch against a sequential model."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
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
from tests.support.builders import BATCH
from tests.support.model import Model

PRODUCTS = ["a", "B", "ä"]
FOREVER, LAPSED = None, timedelta(microseconds=1)

lines = st.lists(
    st.tuples(st.sampled_from([*PRODUCTS, "nope"]), st.integers(1, 4)), min_size=1, max_size=3
)
requests = st.tuples(
    st.sampled_from([f"r{n}" for n in range(12)]),
    st.one_of(lines, st.tuples(st.tuples(st.sampled_from(PRODUCTS), st.integers(1, 3)))),
    st.sampled_from([FOREVER, FOREVER, LAPSED]),
)


class Histories(RuleBasedStateMachine):
    """Batches of any mixture, restocking, lapsing; each example in a store of its own."""

    runner: ClassVar[asyncio.Runner]
    connection: ClassVar[Any]
    stores: ClassVar[int] = 0

    def run(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    @initialize(on_hand=st.lists(st.integers(0, 8), min_size=3, max_size=3))
    def open_store(self, on_hand: list[int]) -> None:
        type(self).stores += 1
        self.store = f"s{self.stores}"
        self.model = Model(dict(zip(PRODUCTS, on_hand, strict=True)))
        self.run(self.connection.execute("SELECT create_store($1)", self.store))
        self.run(
            self.connection.execute(
                "INSERT INTO products (store_id, product_id) SELECT $1, unnest($2::text[])",
                self.store,
                PRODUCTS,
            )
        )
        for product, units in self.model.on_hand.items():
            self.put(product, units)

    def put(self, product: str, on_hand: int) -> None:
        statement = "UPDATE stock SET on_hand = $3 WHERE store_id = $1 AND product_id = $2"
        self.run(self.connection.execute(statement, self.store, product, on_hand))

    @rule(batch=st.lists(requests, min_size=1, max_size=8), as_lines=st.booleans())
    def reserve(self, batch: list[Any], as_lines: bool) -> None:
        numbered = [
            (number, *line) for number, (_, lines, _) in enumerate(batch, 1) for line in lines
        ]
        is_single = len(numbered) == len(batch) and not as_lines
        rows = self.run(
            self.connection.fetch(
                BATCH,
                self.store,
                [reservation_id for reservation_id, _, _ in batch],
                [ttl for _, _, ttl in batch],
                None if is_single else [number for number, _, _ in numbered],
                [product for _, product, _ in numbered],
                [quantity for _, _, quantity in numbered],
            )
        )
        expected = [
            self.model.reserve(reservation_id, list(lines), lapses=ttl is LAPSED)
            for reservation_id, lines, ttl in batch
        ]
        assert [row["result_code"] for row in rows] == expected
        for (reservation_id, _, ttl), code in zip(batch, expected, strict=True):
            if code == "ok" and ttl is LAPSED:
                self.model.lapse(reservation_id)

    @rule(
        reservation_id=st.sampled_from([f"r{n}" for n in range(12)]),
        verb=st.sampled_from(["commit", "release", "extend"]),
    )
    def resolve(self, reservation_id: str, verb: str) -> None:
        more = ", '1 hour', '1 day'" if verb == "extend" else ""
        call = f"SELECT result_code FROM {verb}_reservation($1, $2{more})"
        code = self.run(self.connection.fetchval(call, self.store, reservation_id))
        assert code == self.model.resolve(reservation_id, verb)

    @rule()
    def sweep(self) -> None:
        call = "SELECT expired_count FROM expire_reservations($1)"
        assert self.run(self.connection.fetchval(call, self.store)) == self.model.sweep()

    @rule(product=st.sampled_from(PRODUCTS), units=st.integers(1, 5))
    def restock(self, product: str, units: int) -> None:
        self.model.on_hand[product] += units
        self.put(product, self.model.on_hand[product])

    @invariant()
    def nothing_is_broken(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.run(
            self.connection.fetch(
                "SELECT product_id, available FROM stock_levels WHERE store_id = $1", self.store
            )
        )
        found = {row["product_id"]: row["available"] for row in rows}
        assert found == {product: self.model.available(product) for product in PRODUCTS}
        broken = "SELECT * FROM invariant_violations WHERE store_id = $1"
        assert self.run(self.connection.fetch(broken, self.store)) == []


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


def test_batches_answer_as_one_by_one(histories: Any) -> None:
    run_state_machine_as_test(
        histories,
        settings=settings(
            max_examples=150,
            stateful_step_count=12,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
