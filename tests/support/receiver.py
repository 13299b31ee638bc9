"""A system that is told of events: it checks their signatures, and answers as a test tells it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook


class Told(NamedTuple):
    """One request."""

    headers: dict[str, str]
    raw: str
    at: float

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.raw)
        return body

    def is_signed(self, secret: str) -> bool:
        """Whether the library of Standard Webhooks takes it; raises what it says otherwise."""
        Webhook(secret).verify(self.raw, self.headers)
        return True


class Receiver:
    """What it was told; `answers` are given to the next requests, then all succeed."""

    def __init__(self) -> None:
        self.url = ""
        self.told: list[Told] = []
        self.answers: list[int | Callable[[], web.Response]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._changed = asyncio.Condition()

    async def gets(self, count: int = 1, *, seconds: float = 60.0) -> list[Told]:
        """Wait until so many requests have come; all of them."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.told) >= count)
        return self.told

    async def handle(self, request: web.Request) -> web.Response:
        """Any request."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        told = Told(headers, (await request.read()).decode(), time.monotonic())
        async with self._changed:
            self.told.append(told)
            self._changed.notify_all()
        await self.may_answer.wait()
        answer = self.answers.pop(0) if self.answers else 204
        return web.Response(status=answer) if isinstance(answer, int) else answer()


@asynccontextmanager
async def receiver(**options: Any) -> AsyncIterator[Receiver]:
    """A receiver for the time being."""
    found = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    server = TestServer(app, **options)
    await server.start_server()
    found.url = str(server.make_url("/events"))
    try:
        yield found
    finally:
        found.may_answer.set()
        await server.close()
