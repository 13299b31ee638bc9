"""Holdfast from Python: a thin, typed, asynchronous client whose repeats are safe by the contract.

    async with Holdfast("http://127.0.0.1:8080", token="hf_…") as holdfast:
        answer = await holdfast.reserve("1001", "1", 2)

A 503 is repeated after its Retry-After, and so is a lost connection: every write carries an id of
the caller's, or an Idempotency-Key that is made here, so that it happens once. A refusal is raised.
"""

import asyncio
import json
import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TypedDict

import aiohttp

PATIENCE_SECONDS = 30.0
"""How long a request is repeated before its last error is raised."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between repeats where the service names none."""


class Refused(Exception):
    """The service said no: its code, status and the facts beside them."""

    def __init__(self, status: int, answer: Mapping[str, Any]) -> None:
        super().__init__(f"{answer.get('code')}: {answer.get('detail') or answer.get('message')}")
        self.status = status
        self.code = str(answer.get("code", ""))
        self.answer = dict(answer)


class Line(TypedDict):
    """A product and how many units of it."""

    product_id: str
    quantity: int


class Reserved(TypedDict):
    """The answer to a callback."""

    status: str
    message: str
    reservation_id: str


class Reservation(TypedDict):
    """A reservation with its lines; times are RFC 3339."""

    reservation_id: str
    kind: str
    status: str
    lines: list[Line]
    timestamp: str | None
    created_at: str
    expires_at: str | None
    closed_at: str | None


class Holdfast:
    """A service by its address, as one caller, about one store."""

    def __init__(self, url: str, token: str = "", store_id: str = "") -> None:
        self._base = f"{url.rstrip('/')}/api/v1" + (f"/stores/{store_id}" if store_id else "")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Holdfast":
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        assert self._session
        await self._session.close()

    async def reserve(self, reservation_id: str, product_id: str, quantity: int) -> Reserved:
        """Hold units for good, by a callback's numeric ids. Raises Refused."""
        body = {
            "reservation_id": reservation_id,
            "product_id": product_id,
            "quantity": quantity,
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        answer: Reserved = await self.call("POST", "/reserve", body, None)
        return answer

    async def hold(
        self, lines: Sequence[Line], reservation_id: str = "", ttl_seconds: int | None = None
    ) -> Reservation:
        """Hold every line, or none; for `ttl_seconds`, or without an end. Raises Refused."""
        body: dict[str, Any] = {"reservation_id": reservation_id or str(uuid.uuid4())}
        body |= {"lines": list(lines)} | ({"ttl_seconds": ttl_seconds} if ttl_seconds else {})
        answer: Reservation = await self.call("POST", "/reservations", body, None)
        return answer

    async def reservation(self, reservation_id: str) -> Reservation:
        """What became of a reservation. Raises Refused."""
        answer: Reservation = await self.call("GET", f"/reservations/{reservation_id}")
        return answer

    async def commit(self, reservation_id: str) -> Reservation:
        """The goods leave, once. Raises Refused."""
        path = f"/reservations/{reservation_id}/commit"
        answer: Reservation = await self.call("POST", path, None, None)
        return answer

    async def release(self, reservation_id: str) -> Reservation:
        """The units are available again, once. Raises Refused."""
        path = f"/reservations/{reservation_id}/release"
        answer: Reservation = await self.call("POST", path, None, None)
        return answer

    async def call(self, method: str, path: str, body: Any = None, key: str | None = "") -> Any:
        """Any operation below /api/v1, repeated where that is safe; its answer. Raises Refused.

        A POST gets an Idempotency-Key, `key` or a new one; None where its ids make it happen once.
        """
        assert self._session, "use it as: async with Holdfast(…) as holdfast"
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if method == "POST" and key is not None:
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        data = None if body is None else json.dumps(body)
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + PATIENCE_SECONDS, FIRST_PAUSE
        while True:
            wait = pause * random.uniform(0.5, 1)  # noqa: S311
            try:
                async with self._session.request(
                    method, self._base + path, data=data, headers=headers
                ) as response:
                    answer = await response.json() if response.content_length else {}
                    if response.status < 400:
                        return answer
                    if (
                        response.status not in (429, 503)
                        and answer["code"] != "request_in_progress"
                    ):
                        raise Refused(response.status, answer)
                    wait = float(response.headers.get("Retry-After", wait))
                    failure: Exception = Refused(response.status, answer)
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
                failure = error
            if loop.time() + wait > deadline:
                raise failure
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
