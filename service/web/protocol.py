"""HTTP/1.1 by aiohttp: one connection, what it may hold and for how long."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web, web_response

from service.results import Refusal
from service.web import responses
from service.web.boundary import Boundary
from service.web.clients import CLIENTS
from service.web.connections import Connections, Unsent, room_for
from service.web.context import SETTINGS
from service.web.metrics import METRICS

logger = logging.getLogger("holdfast.http")

HEADER_SECONDS = 10.0
NEWCOMER_SECONDS = 2.0
"""For the headers of who comes where there is no room."""
MAX_HEADER_BYTES = 32 * 1024
LINGER_SECONDS = 2.0
"""To read the rest of a refused body, so that its sender sees the answer, not a reset."""
FINISH_SECONDS = 15.0
KEEPALIVE_SECONDS = 75.0
READ_BYTES = 64 * 1024
"""Of a body that its handler has not asked for yet; twice as much may wait."""
KERNEL_BYTES = 128 * 1024
"""Of an answer that the kernel takes ahead of the client, who would seem to read otherwise."""
LOOK_SECONDS = 2.5
"""Between looks at who takes what is sent."""

# aiohttp has no setting for it, and would tell its own version and Python's.
web_response.SERVER_SOFTWARE = "Holdfast"  # type: ignore[attr-defined]


class _Connection(web.RequestHandler):
    """One connection: it has HEADER_SECONDS to say what it wants, from its first byte or none."""

    __slots__ = (
        "_header_bytes",
        "_header_timer",
        "_peer",
        "_sending",
        "_server",
        "has_odd_bytes",
        "is_newcomer",
    )

    def __init__(self, server: "_Server", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._header_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self.has_odd_bytes = False
        """Whether it has sent a byte from 0x80 on."""
        self.is_newcomer = False
        """Whether there is no room for it: one request is heard, and only health is answered."""

    @property
    def is_silent(self) -> bool:
        """Whether it has not said yet what it wants."""
        return self._header_timer is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport
        self._sending = self.transport
        self._peer = str(self.peername[0]) if isinstance(self.peername, tuple) else ""
        if self._peer:
            endpoint = transport.get_extra_info("socket")
            endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_BYTES)
        self._header_timer = self._loop.call_later(HEADER_SECONDS, self.force_close)
        self.is_newcomer = not self._server.room.admit(self, self._peer)
        if self.is_newcomer:
            self._forget_headers()
            self._header_timer = self._loop.call_later(NEWCOMER_SECONDS, self.turn_away)

    def data_received(self, data: bytes) -> None:
        if not data.isascii():
            self.has_odd_bytes = True
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._forget_headers()
        elif self._waiter is not None:  # for the next request, of which this is a part
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse("bad_request", f"Headers have at most {MAX_HEADER_BYTES} bytes.")
            elif self._header_timer is None:
                self._header_timer = self._loop.call_later(HEADER_SECONDS, self.force_close)

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp asks twice a request; where nothing was paused, its way to find out costs 4 us.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._server.unsent.add(self._sending)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._server.unsent.remove(self._sending)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget_headers()
        self._server.room.leave(self, self._peer, is_admitted=not self.is_newcomer)
        self._server.unsent.remove(self._sending)
        super().connection_lost(exc)

    def turn_away(self) -> None:
        """Tell it that there is no room, and close it."""
        self._refuse("overloaded", "Too many connections are open; try again shortly.")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        logger.error("Request handling failed", exc_info=exc)
        response = responses.respond_code("internal_error")
        response.force_close()
        return response

    def _make_error_handler(
        self, err_info: Any
    ) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
        """What aiohttp calls for a request that is no HTTP: it crosses the boundary, too."""
        self.has_odd_bytes = False  # there are no headers to look for them in

        async def refuse(_: web.Request) -> web.StreamResponse:
            detail = str(err_info.message or "").partition("\n")[0].rstrip(": ")
            raise Refusal("bad_request", detail)

        return partial(self._server.boundary.cross, handle=refuse)

    def _refuse(self, code: str, detail: str) -> None:
        """Answer whatever is under way, before it is a request, and close."""
        self._forget_headers()
        if self.transport is not None:
            self.transport.write(responses.as_bytes(responses.respond_code(code, detail)))
        self.force_close()

    def _forget_headers(self) -> None:
        self._header_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class _Server(web.Server):
    """Makes the protocol of each connection, and keeps what all of them hold within bounds."""

    def __init__(self, app: web.Application, made: web.Server) -> None:
        self.boundary = Boundary(app, made.request_handler)
        super().__init__(
            self.boundary,
            request_factory=made.request_factory,
            loop=made._loop,
            **made._kwargs,
        )
        settings = app[SETTINGS]
        room = room_for(settings.max_connections)
        most = settings.max_connections_per_address or room.connections // 2
        self.room = Connections(room, most, app[CLIENTS].is_proxy)
        self.unsent = Unsent()
        app[METRICS].gauge(
            "holdfast_connections",
            "Open connections, and those at most.",
            ("state",),
            lambda: {("open",): len(self.room), ("most",): room.connections},
        )
        app[METRICS].gauge(
            "holdfast_unsent_bytes",
            "Of answers that wait for their clients to take them.",
            (),
            lambda: {(): self.unsent.total},
        )
        self._look = self._loop.call_later(LOOK_SECONDS, self._look_at_unsent)

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        self._look.cancel()
        super().pre_shutdown()

    def _look_at_unsent(self) -> None:
        self._look = self._loop.call_later(LOOK_SECONDS, self._look_at_unsent)
        for transport in self._connections.values():
            # Closed, and waiting for a client to take the rest of its answer.
            if transport.is_closing() and transport.get_write_buffer_size():
                self.unsent.add(transport)
        self.unsent.look()


class Runner(web.AppRunner):
    """aiohttp's runner with our server; its own access log is off, the boundary logs."""

    def __init__(self, app: web.Application) -> None:
        super().__init__(
            app,
            access_log=None,
            auto_decompress=False,
            lingering_time=LINGER_SECONDS,
            keepalive_timeout=KEEPALIVE_SECONDS,
            read_bufsize=READ_BYTES,
            shutdown_timeout=FINISH_SECONDS,
        )

    @property
    def backlog(self) -> int:
        """How many connections may come at once: as many as there are descriptors for."""
        assert isinstance(self._server, _Server)
        return self._server.room.newcomers

    async def _make_server(self) -> web.Server:
        return _Server(self._app, await super()._make_server())
