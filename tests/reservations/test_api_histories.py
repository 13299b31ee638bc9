"""Random histories over the API: each answer is the sequential model's, and so is the stock."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.app import create_app
from service.database.connections import connected
from service.database.pool import Database
from service.settings import Settings
from tests.support.aliases import Api
from tests.support.builders import callback, lapse, stock
from tests.support.model import Model, Reservation, sum_lines
from tests.support.servers import RealServer

PRODUCTS = ["1", "2", "3"]
IDS = [str(n) for n in range(1, 9)]
STATUSES = {
    "ok": 200,
    "already_reserved": 200,
    "already_committed": 200,
    "already_released": 200,
    "unknown_reservation": 404,
    "unknown_product": 404,
}
"""Every other code is a conflict: 409."""

ids = st.sampled_from(IDS)
lines = st.tuples(st.sampled_from([*PRODUCTS * 4, "404"]), st.integers(1, 3))
callbacks = st.tuples(ids, lines)
carts = st.lists(lines, min_size=1, max_size=3)


def document(reservation_id: str, known: Reservation) -> dict[str, Any]:
    """What a reservation reads, but for its times."""
    return {
        "reservation_id": reservation_id,
        "kind": known.kind,
        "status": known.status,
        "lines": [
            {"product_id": product, "quantity": quantity}
            for product, quantity in sorted(known.units.items())
        ],
    }


def without_times(body: dict[str, Any], known: Reservation) -> dict[str, Any]:
    """The rest of a document, once its times are seen to fit."""
    assert (body["expires_at"] is not None) == known.lapses
    assert (body["closed_at"] is not None) == (known.status != "held")
    return {name: body[name] for name in ("reservation_id", "kind", "status", "lines")}


class Histories(RuleBasedStateMachine):
    """Each example in a store of its own."""

    runner: ClassVar[asyncio.Runner]
    api: ClassVar[Api]
    sql: ClassVar[Any]
    stores: ClassVar[int] = 0

    @initialize(on_hand=st.lists(st.integers(3, 12), min_size=3, max_size=3))
    def open_store(self, on_hand: list[int]) -> None:
        type(self).stores += 1
        self.store = f"s{self.stores}"
        self.model = Model(dict(zip(PRODUCTS, on_hand, strict=True)))
        self.run(self.open())

    def run(self, awaitable: Any) -> Any:
        return self.runner.run(awaitable)

    async def open(self) -> None:
        await self.sql.execute("SELECT create_store($1)", self.store)
        insert = "INSERT INTO products (store_id, product_id) SELECT $1, unnest($2::text[])"
        await self.sql.execute(insert, self.store, PRODUCTS)
        for product in PRODUCTS:
            await self.put(product)

    async def put(self, product: str) -> None:
        statement = "UPDATE stock SET on_hand = $3 WHERE store_id = $1 AND product_id = $2"
        await self.sql.execute(statement, self.store, product, self.model.on_hand[product])

    def ask(self, method: str, path: str, **sent: Any) -> tuple[int, dict[str, Any]]:
        async def ask() -> tuple[int, dict[str, Any]]:
            url = f"/api/v1/stores/{self.store}{path}"
            response = await self.api.request(method, url, **sent)
            return response.status, await response.json()

        status, body = self.run(ask())
        return status, body

    def expect(self, code: str, status: int, body: dict[str, Any]) -> None:
        """The answer that a code means; what went well is looked at by the caller."""
        assert status == STATUSES.get(code, 409), body
        if status >= 400:
            assert (body["status"], body["code"]) == ("error", code)
            assert body["store_id"] == self.store

    @rule(request=callbacks)
    def reserve(self, request: tuple[str, tuple[str, int]]) -> None:
        reservation_id, (product, quantity) = request
        available = self.model.available(product) if product in PRODUCTS else None
        code = self.model.reserve(reservation_id, [(product, quantity)], kind="callback")
        sent = callback(reservation_id=reservation_id, product_id=product, quantity=quantity)
        status, body = self.ask("POST", "/reserve", json=sent)
        self.expect(code, status, body)
        assert body["reservation_id"] == reservation_id
        if code == "insufficient_stock":
            assert (body["quantity"], body["available"]) == (quantity, available)

    @rule(requests=st.lists(callbacks, min_size=1, max_size=8))
    def reserve_batch(self, requests: list[tuple[str, tuple[str, int]]]) -> None:
        sent = [
            callback(reservation_id=reservation_id, product_id=product, quantity=quantity)
            for reservation_id, (product, quantity) in requests
        ]
        codes = [
            self.model.reserve(reservation_id, [line], kind="callback")
            for reservation_id, line in requests
        ]
        status, body = self.ask("POST", "/reserve/batch", json=sent)
        assert status == 200
        assert [
            (each["reservation_id"], each["status"], each["code"]) for each in body["results"]
        ] == [
            (reservation_id, "success" if STATUSES.get(code) == 200 else "error", code)
            for (reservation_id, _), code in zip(requests, codes, strict=True)
        ]

    @rule(reservation_id=ids, cart=carts, ttl=st.sampled_from([600, 600, None]))
    def hold(self, reservation_id: str, cart: list[tuple[str, int]], ttl: int | None) -> None:
        units = sum_lines(cart)
        short = self.model.short(units)
        code = self.model.reserve(reservation_id, cart, lapses=ttl is not None)
        sent = {
            "reservation_id": reservation_id,
            "lines": [{"product_id": product, "quantity": quantity} for product, quantity in cart],
        } | ({"ttl_seconds": ttl} if ttl else {})
        status, body = self.ask("POST", "/reservations", json=sent)
        if status == 201:
            assert code == "ok"
        else:
            assert code != "ok"
            self.expect(code, status, body)
        if code in ("ok", "already_reserved"):
            known = self.model.reservations[reservation_id]
            assert without_times(body, known) == document(reservation_id, known)
        elif code == "insufficient_stock":
            found = [
                (each["product_id"], each["quantity"], each["available"]) for each in body["lines"]
            ]
            assert found == short
        elif code == "unknown_product":
            assert [each["product_id"] for each in body["lines"]] == ["404"]

    @rule(reservation_id=ids, verb=st.sampled_from(["commit", "release", "extend"]))
    def resolve(self, reservation_id: str, verb: str) -> None:
        sent = {"json": {"ttl_seconds": 1200}} if verb == "extend" else {}
        code = self.model.resolve(reservation_id, verb)
        status, body = self.ask("POST", f"/reservations/{reservation_id}/{verb}", **sent)
        self.expect(code, status, body)
        if status == 200:
            known = self.model.reservations[reservation_id]
            assert without_times(body, known) == document(reservation_id, known)

    @rule(reservation_id=ids)
    def read(self, reservation_id: str) -> None:
        known = self.model.reservations.get(reservation_id)
        status, body = self.ask("GET", f"/reservations/{reservation_id}")
        self.expect("ok" if known else "unknown_reservation", status, body)
        if known:
            assert without_times(body, known) == document(reservation_id, known)
        status, body = self.ask("GET", f"/reserve/{reservation_id}")
        code = "several_lines" if known and len(known.units) > 1 else "ok"
        self.expect(code if known else "unknown_reservation", status, body)
        if known and status == 200:
            assert (body["status"], {body["product_id"]: body["quantity"]}) == (
                known.status,
                known.units,
            )

    @rule(
        status=st.sampled_from([None, "held", "expired", "committed", "released"]),
        product=st.sampled_from([None, None, *PRODUCTS]),
        limit=st.integers(1, 9),
    )
    def read_list(self, status: str | None, product: str | None, limit: int) -> None:
        expected = [
            document(reservation_id, known)
            for reservation_id, known in sorted(self.model.reservations.items())
            if status in (None, known.status) and (product is None or product in known.units)
        ]
        assert self.list_all(limit, status=status, product_id=product) == expected

    def list_all(self, limit: int, **filters: str | None) -> list[dict[str, Any]]:
        """All pages of a list."""
        query = {name: value for name, value in filters.items() if value} | {"limit": str(limit)}
        found = []
        while True:
            status, body = self.ask("GET", "/reservations", params=query)
            assert status == 200
            for each in body["reservations"]:
                known = self.model.reservations[each["reservation_id"]]
                found.append(without_times(each, known))
            if body["next"] is None:
                return found
            query["after"] = body["next"]

    @precondition(lambda self: self.model.may_lapse())
    @rule(verb=st.sampled_from(["commit", "release", "extend"]))
    def lapse(self, verb: str) -> None:
        """The first hold that can lapse does; nobody has written that down when others look."""
        reservation_id = self.model.may_lapse()[0]
        self.model.lapse(reservation_id)
        self.run(lapse(self.sql, reservation_id, self.store))
        self.read_list(status="held", product=None, limit=9)
        self.resolve(reservation_id=reservation_id, verb=verb)

    @rule()
    def sweep(self) -> None:
        call = "SELECT expired_count FROM expire_reservations($1)"
        assert self.run(self.sql.fetchval(call, self.store)) == self.model.sweep()

    @rule(product=st.sampled_from(PRODUCTS), units=st.integers(1, 5))
    def restock(self, product: str, units: int) -> None:
        self.model.on_hand[product] += units
        self.run(self.put(product))

    def teardown(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.run(stock(self.sql, self.store)) == self.model.levels()
        broken = "SELECT * FROM invariant_violations WHERE store_id = $1"
        assert self.run(self.sql.fetch(broken, self.store)) == []


@pytest.fixture
def histories(dsn: str) -> Iterator[type[Histories]]:
    """The machine with a service on an event loop of its own: Hypothesis runs it in steps."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> Api:
            client: Api = TestClient(RealServer(create_app(Settings(), Database(dsn))))
            await client.start_server()
            return client

        Histories.runner = runner
        Histories.api = runner.run(start())
        Histories.sql = runner.run(stack.enter_async_context(connected(dsn, "holdfast_owner")))
        yield Histories
        runner.run(stack.aclose())
        runner.run(Histories.api.close())


def test_every_answer_is_the_models(histories: type[Histories]) -> None:
    run_state_machine_as_test(
        histories,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
