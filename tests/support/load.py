"""Callers that keep reserving over connections they keep, and remember what they were told."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.support.builders import callback

REFUSED_PAUSE = 0.02


def written(body: dict[str, Any]) -> bytes:
    """A callback as it goes over the wire."""
    content = json.dumps(body).encode()
    head = (
        "POST /api/v1/reserve HTTP/1.1\r\nHost: holdfast\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Wire:
    """One plain connection to the service; aiohttp's client would be slower than the server."""

    def __init__(self, host: str, port: int) -> None:
        self.address = host, port
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer; OSError where there is none."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self.address)
        try:
            self._writer.write(written(body))
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].split("\r\n")[0])
            content = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError as error:
            self.close()
            raise ConnectionResetError from error
        except OSError:
            self.close()
            raise
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), json.loads(content)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None


class Load:
    """So many callers at once, each with one request under way, until told to stop.

    Whoever hears 503 or nothing repeats the same request until the answer is certain.
    """

    def __init__(self, host: str, port: int, products: list[str], numbers: Iterator[int]) -> None:
        self.address = host, port
        self._products = products
        self._numbers = numbers
        self._is_on = True
        self._callers: list[asyncio.Task[None]] = []
        self.answers: Counter[str] = Counter()
        """How often which code was the answer; `none`: the connection broke."""
        self.acknowledged: set[str] = set()
        self.succeeded_at = 0.0
        """When the last success was that had been asked for after `asked_since`."""
        self.asked_since = float("inf")

    def start(self, callers: int) -> None:
        self._callers = [asyncio.create_task(self._keep_reserving()) for _ in range(callers)]

    async def stop(self) -> None:
        """Let everyone hear a certain answer to what is under way."""
        self._is_on = False
        await asyncio.gather(*self._callers)

    async def first_success(self, *, seconds: float = 30.0) -> float:
        """When something asked for from now on succeeded first."""
        self.succeeded_at, self.asked_since = 0.0, time.monotonic()
        async with asyncio.timeout(seconds):
            while not self.succeeded_at:
                await asyncio.sleep(0.005)
        self.asked_since = float("inf")
        return self.succeeded_at

    async def _keep_reserving(self) -> None:
        wire = Wire(*self.address)
        for number in self._numbers:
            product_id = self._products[number % len(self._products)]
            body = callback(reservation_id=str(number), product_id=product_id, quantity=1)
            while not await self._is_certain(wire, body):
                await asyncio.sleep(REFUSED_PAUSE)
            if not self._is_on:
                break
        wire.close()

    async def _is_certain(self, wire: Wire, body: dict[str, Any]) -> bool:
        asked_at = time.monotonic()
        wire.address = self.address
        try:
            status, answer = await wire.post(body)
        except OSError:
            self.answers["none"] += 1
            return False
        self.answers[answer.get("code", "ok")] += 1
        if status == 200:
            self.acknowledged.add(body["reservation_id"])
            if asked_at >= self.asked_since and not self.succeeded_at:
                self.succeeded_at = time.monotonic()
        return status != 503


async def assert_kept(connection: Any, acknowledged: set[str]) -> None:
    """The oracle: nothing is broken, and every acknowledged reservation of one unit is there."""
    assert await connection.fetch("SELECT * FROM holdfast.invariant_violations") == []
    assert acknowledged - await stored(connection) == set()
    assert await connection.fetchval("SELECT sum(reserved) FROM holdfast.stock") == len(
        await stored(connection)
    )


async def stored(connection: Any) -> set[str]:
    """The reservations there are."""
    rows = await connection.fetch("SELECT reservation_id FROM holdfast.reservations")
    return {row["reservation_id"] for row in rows}
