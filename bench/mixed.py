"""Mixed: clients that reserve, hold, resolve, supply and demand the same five products at once."""

import asyncio
import json
import random
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import asyncpg

from bench.cluster import Cluster
from bench.load import BenchError, percentile
from bench.systems import WARM_UP, Holdfast, free_port, started

PRODUCTS = [str(number) for number in range(1, 6)]
VERBS = {
    "reserve": 30,
    "batch": 10,
    "hold": 20,
    "commit": 9,
    "release": 9,
    "extend": 4,
    "supply": 6,
    "demand": 6,
    "group_op": 6,
}
"""How often which is asked for."""
LARGEST_BATCH = 50
P99_BAR_MS = 500.0
SAMPLE_SECONDS = 0.05
WAITING = """
SELECT query, wait_event FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@dataclass
class Told:
    """What a verb was answered."""

    verb: str
    answered: int
    unavailable: int
    """Of which 503."""
    p50_ms: float
    p99_ms: float
    max_ms: float


class Client:
    """One connection, which asks for one thing after another."""

    def __init__(self, number: int, port: int) -> None:
        self._chance = random.Random(number)  # noqa: S311
        self._port = port
        self._ids: Iterator[str] = (f"{number + 1}{n:09d}" for n in count(1))
        self._held: deque[str] = deque()
        self.times: dict[str, list[float]] = defaultdict(list)
        self.unavailable: Counter[str] = Counter()

    async def ask_until(self, ends: float) -> None:
        """Ask at random until then; note how long each answer took, in milliseconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while time.perf_counter() < ends:
            (verb,) = self._chance.choices(list(VERBS), list(VERBS.values()))
            path, body = self._request(verb)
            content = json.dumps(body).encode() if body is not None else b""
            kind = "Content-Type: application/json\r\n" if content else ""
            head = (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}Content-Length: {len(content)}"
            )
            began = time.perf_counter()
            writer.write(head.encode() + b"\r\n\r\n" + content)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            said = await reader.readexactly(int(answer.split("content-length: ")[1].split("\r")[0]))
            self.times[verb].append((time.perf_counter() - began) * 1000)
            status = int(answer.split()[1])
            self.unavailable[verb] += status == 503
            if (status >= 500 and status != 503) or status in (400, 404, 415, 422):
                raise BenchError(f"{path} was answered {status}: {said.decode()}")
        writer.close()

    def _request(self, verb: str) -> tuple[str, Any]:
        """Path and body of a request; a hold where there is none to resolve."""
        chance, number = self._chance, next(self._ids)
        if verb in ("commit", "release", "extend") and self._held:
            reservation_id = self._held[0] if verb == "extend" else self._held.popleft()
            body = {"ttl_seconds": 900} if verb == "extend" else None
            return f"/api/v1/reservations/{reservation_id}/{verb}", body
        if verb == "reserve":
            return "/api/v1/reserve", self._callback(number)
        if verb == "batch":
            callbacks = [self._callback(next(self._ids)) for _ in range(LARGEST_BATCH)]
            return "/api/v1/reserve/batch", callbacks[: chance.randint(1, LARGEST_BATCH)]
        if verb in ("supply", "demand"):
            item = {"item_id": chance.choice(PRODUCTS), "quantity": 1}
            return "/api/v1/stores/main", {"operation": verb, **item}
        some = chance.sample(PRODUCTS, chance.randint(1, 5))
        if verb == "group_op":
            items = [{"item_id": product, "quantity": 1} for product in some]
            return "/api/v1/stores/main/group_op", {"operation": "supply", "items": items}
        self._held.append(f"hold-{number}")
        lines = [{"product_id": product, "quantity": 1} for product in some]
        hold = {"reservation_id": f"hold-{number}", "lines": lines, "ttl_seconds": 600}
        return "/api/v1/reservations", hold

    def _callback(self, number: str) -> dict[str, Any]:
        return {
            "reservation_id": number,
            "product_id": self._chance.choice(PRODUCTS),
            "quantity": 1,
            "timestamp": "2026-11-21T10:00:00Z",
        }


async def measure(cluster: Cluster, clients: int, seconds: float) -> dict[str, Any]:
    """What each verb was answered, and who waited for locks meanwhile."""
    holdfast = Holdfast()
    await holdfast.prepare(cluster)
    async with cluster.copy(f"bench_{holdfast.name}") as url:
        port, log = free_port(), cluster.folder / "mixed.log"
        async with started(holdfast.commands(port), holdfast.environment(url, port), port, log):
            everyone = [Client(number, port) for number in range(clients)]
            await _together(everyone, WARM_UP)
            for client in everyone:
                client.times.clear()
                client.unavailable.clear()
            sampling = asyncio.create_task(_sample(url))
            await _together(everyone, seconds)
            sampling.cancel()
            waits = await sampling
        await holdfast.check(url)
    return {"told": [asdict(each) for each in _told(everyone)], "waits": waits}


async def _together(clients: list[Client], seconds: float) -> None:
    ends = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.ask_until(ends))


async def _sample(url: str) -> dict[str, float]:
    """How many sessions wait for a lock, on average, by the function they call."""
    connection = await asyncpg.connect(url)
    waiting: Counter[str] = Counter()
    samples = 0
    try:
        while True:
            samples += 1
            for query, event in await connection.fetch(WAITING):
                called = re.search(r"FROM (\w+)\(", query)
                waiting[f"{called[1] if called else query[:40]}, {event}"] += 1
            await asyncio.sleep(SAMPLE_SECONDS)
    except asyncio.CancelledError:
        await connection.close()
    return {name: number / samples for name, number in waiting.most_common()}


def _told(clients: list[Client]) -> Iterator[Told]:
    for verb in VERBS:
        times = sorted(each for client in clients for each in client.times[verb])
        unavailable = sum(client.unavailable[verb] for client in clients)
        at = [percentile(times, percent) for percent in (50, 99, 100)] if times else [0.0] * 3
        yield Told(verb, len(times), unavailable, *at)


def table(document: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| verb | answered | 503 | p50 | p99 | max |", "|---|--:|--:|--:|--:|--:|"]
    for each in document["told"]:
        times = [f"{each[name]:.0f} ms" for name in ("p50_ms", "p99_ms", "max_ms")]
        cells = [each["verb"], f"{each['answered']:,}", str(each["unavailable"]), *times]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| waits for a lock | sessions |", "|---|--:|"]
    lines += [f"| {name} | {sessions:.1f} |" for name, sessions in document["waits"].items()]
    worst = max(each["p99_ms"] for each in document["told"])
    met = "met" if worst <= P99_BAR_MS else "**not met**"
    return "\n".join([*lines, "", f"p99 ≤ {P99_BAR_MS:.0f} ms of every verb: {met}."])
