"""Random histories of many clients at once: what each was told must fit one order of events."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import callback, lapse, stock
from tests.support.model import sum_lines

PRODUCTS = ["1", "2", "3"]
IDS = [str(n) for n in range(1, 31)]
ON_HAND = 25
VERBS = {"commit": "committed", "release": "released"}


class Client:
    """One caller: random requests, each repeated until its answer is certain."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api = api
        self.chance = random.Random(seed)
        self.granted: dict[str, list[dict[str, int]]] = defaultdict(list)
        """Per reservation: the units that were granted, once for each time we were told."""
        self.seen: dict[str, list[str]] = defaultdict(list)
        """Per reservation: its status, in the order in which we were told."""
        self.closed_at: dict[str, set[str | None]] = defaultdict(set)
        """Per reservation: when it was closed, as we were told."""

    async def ask(self, method: str, path: str, **sent: Any) -> tuple[int, Any]:
        async with asyncio.timeout(20):
            while True:
                response = await self.api.request(method, f"/api/v1{path}", **sent)
                if response.status != 503:
                    break
                await asyncio.sleep(0.05)
        assert response.status < 500
        return response.status, await response.json()

    def told(self, body: dict[str, Any]) -> None:
        """Remember what a document says."""
        self.seen[body["reservation_id"]].append(body["status"])
        if body["status"] in VERBS.values():
            self.closed_at[body["reservation_id"]].add(body["closed_at"])

    async def run(self, count: int) -> None:
        actions = [self.reserve, self.batch, self.hold, self.hold, self.resolve, self.resolve]
        for _ in range(count):
            await self.chance.choice([*actions, self.read])()

    def lines(self, at_most: int) -> list[tuple[str, int]]:
        count = self.chance.randint(1, at_most)
        return [(self.chance.choice(PRODUCTS), self.chance.randint(1, 3)) for _ in range(count)]

    async def reserve(self) -> None:
        reservation_id, (line,) = self.chance.choice(IDS), self.lines(1)
        sent = callback(reservation_id=reservation_id, product_id=line[0], quantity=line[1])
        status, _ = await self.ask("POST", "/reserve", json=sent)
        if status == 200:
            self.granted[reservation_id].append(sum_lines([line]))

    async def batch(self) -> None:
        lines = self.lines(6)
        sent = [
            callback(reservation_id=self.chance.choice(IDS), product_id=product, quantity=quantity)
            for product, quantity in lines
        ]
        status, body = await self.ask("POST", "/reserve/batch", json=sent)
        assert status == 200
        for result, line in zip(body["results"], lines, strict=True):
            if result["status"] == "success":
                self.granted[result["reservation_id"]].append(sum_lines([line]))

    async def hold(self) -> None:
        reservation_id, lines = self.chance.choice(IDS), self.lines(3)
        sent = {
            "reservation_id": reservation_id,
            "ttl_seconds": 600,
            "lines": [{"product_id": product, "quantity": quantity} for product, quantity in lines],
        }
        status, body = await self.ask("POST", "/reservations", json=sent)
        if status in (200, 201):
            self.granted[reservation_id].append(sum_lines(lines))
            self.told(body)

    async def resolve(self) -> None:
        reservation_id = self.chance.choice(IDS)
        verb = self.chance.choice([*VERBS, "extend"])
        sent = {"json": {"ttl_seconds": 1200}} if verb == "extend" else {}
        status, body = await self.ask("POST", f"/reservations/{reservation_id}/{verb}", **sent)
        if status == 200:
            assert body["status"] == VERBS.get(verb, "held")
            self.told(body)

    async def read(self) -> None:
        status, body = await self.ask("GET", f"/reservations/{self.chance.choice(IDS)}")
        if status == 200:
            self.told(body)


async def let_expire(dba: Any, worker: Any, count: int) -> None:
    """Whichever hold lapses first has lapsed now, and the sweeper comes by."""
    first = (
        "SELECT reservation_id FROM reservations WHERE status = 'held'"
        " AND expires_at > clock_timestamp() ORDER BY expires_at LIMIT 1"
    )
    for _ in range(count):
        if reservation_id := await dba.fetchval(first):
            await lapse(dba, reservation_id)
        await worker.execute("SELECT expire_reservations('main')")


@pytest.mark.parametrize("seed", range(3))
async def test_what_clients_were_told_fits_one_order_of_events(
    serve: Callable[..., Awaitable[Api]],
    stocked: Stocked,
    connect_as: Connect,
    sql: Any,
    seed: int,
) -> None:
    await stocked(dict.fromkeys(PRODUCTS, ON_HAND))
    services = [await serve(), await serve()]
    clients = [Client(services[n % 2], seed * 100 + n) for n in range(12)]
    dba, worker = await connect_as("owner"), await connect_as("worker")
    await asyncio.gather(*(client.run(25) for client in clients), let_expire(dba, worker, 12))
    page = await (await services[0].get("/api/v1/reservations?limit=1000")).json()
    ends = {each["reservation_id"]: each for each in page["reservations"]}
    units = {
        reservation_id: {line["product_id"]: line["quantity"] for line in each["lines"]}
        for reservation_id, each in ends.items()
    }

    # Whoever was granted an id was granted the same, and everything stored was granted.
    for reservation_id in IDS:
        granted = [each for client in clients for each in client.granted[reservation_id]]
        assert bool(granted) == (reservation_id in ends)
        assert all(each == units[reservation_id] for each in granted)

    # One end each: nobody saw another, nobody saw it undone, all saw it at the same moment.
    for reservation_id, each in ends.items():
        for client in clients:
            seen = client.seen[reservation_id]
            assert set(seen) <= {"held", each["status"]}
            assert seen == sorted(seen, key=lambda status: status != "held")
            if each["status"] in VERBS.values():
                assert client.closed_at[reservation_id] <= {each["closed_at"]}

    # What is on hand is what has not left, and what is reserved is what is held.
    def total(status: str, product: str) -> int:
        return sum(
            units[reservation_id].get(product, 0)
            for reservation_id, each in ends.items()
            if each["status"] == status
        )

    assert await stock(sql) == {
        product: (ON_HAND - total("committed", product), total("held", product))
        for product in PRODUCTS
    }
    rows = await sql.fetch(
        "SELECT reference, product_id, -delta FROM stock_movements WHERE reason = 'commit'"
    )
    assert sorted(map(tuple, rows)) == sorted(
        (reservation_id, product, quantity)
        for reservation_id, each in ends.items()
        if each["status"] == "committed"
        for product, quantity in units[reservation_id].items()
    )
