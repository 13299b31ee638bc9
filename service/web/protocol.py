"""HTTP/1.1 by aiohttp, with the one error shape for bad HTTP and a limit for slow headers."""

import asyncio
import logging
from typing import Any

from aiohttp import web

from service.web import responses

logger = logging.getLogger("holdfast.http")

HEADER_SECONDS = 10.0
LINGER_SECONDS = 2.0
"""To read the rest of a refused body, so that its sender sees the answer, not a reset."""
FINISH_SECONDS = 15.0
KEEPALIVE_SECONDS = 75.0


class _Protocol(web.RequestHandler):
    """One connection: it has HEADER_SECONDS to say what it wants, from its first byte or none."""

    __slots__ = ("_header_timer",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._header_timer: asyncio.TimerHandle | None = None
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._forget_headers()
        elif self._header_timer is None:
            self._expect_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_headers()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status == 500:
            logger.error("Request handling failed", exc_info=exc)
        code = "bad_request" if status < 500 else "internal_error"
        response = responses.respond_code(code, str(message or "").partition("\n")[0].rstrip(": "))
        response.force_close()
        return response

    def _expect_headers(self) -> None:
        self._header_timer = self._loop.call_later(HEADER_SECONDS, self.force_close)

    def _forget_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Protocol(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """aiohttp's runner with our protocol; its own access log is off, the boundary logs."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(
            app,
            access_log=None,
            lingering_time=LINGER_SECONDS,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=FINISH_SECONDS,
        )

    async def _make_server(self) -> Any:
        server = await super()._make_server()
        server.__class__ = _Server
        return server
