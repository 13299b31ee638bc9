"""The one boundary that every request crosses, whatever it is and whatever becomes of it.

It gives the request its id, turns every failure into the one error shape, adds what each answer
says to browsers, and logs one line.
"""

import asyncio
import itertools
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import ClientConnectionResetError, web

from service.logs import REQUEST_ID, RequestLine, log_request
from service.results import Refusal
from service.web import responses
from service.web.clients import CLIENTS
from service.web.context import CALLER, ROUTE
from service.web.metrics import METRICS, SECONDS
from service.web.origins import ORIGINS, Origins
from service.web.responses import CODE, PROTECTION

DRAINING = web.AppKey("DRAINING", asyncio.Event)
"""Set when the process stops: each answer is its connection's last."""

MONITORED = ("/health/", "/metrics")
"""Paths that are answered where there is no room for anything else."""
READ_HEADERS = (
    "Access-Control-Request-Method", "Connection", "Content-Encoding", "Content-Type", "Expect",
    "Host", "Origin", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version", "Upgrade",
)  # fmt: skip
"""What we or aiohttp read without looking at it closely. Bytes from 0x80 on, which aiohttp hands
over as halves of surrogate pairs, are refused in them: they cannot be written into an answer."""

SESSION = 101
"""The status of a socket, whose length says nothing of how fast we are."""

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger("holdfast.http")
_given_id = re.compile(r"[!-~]{1,128}")
_process = secrets.token_hex(4)
_numbers = itertools.count(1)


class Connection(Protocol):
    """What the boundary asks a connection."""

    has_odd_bytes: bool
    """Whether it has sent a byte from 0x80 on."""
    is_newcomer: bool
    """Whether there is no room for it: only health is answered."""


class Boundary:
    """Answers requests with what `handle` says of them."""

    def __init__(self, app: web.Application, handle: Handle) -> None:
        self._handle = handle
        self._draining = app[DRAINING]
        self._clients = app[CLIENTS]
        self._origins = app[ORIGINS]
        self._requests = app[METRICS].histogram(
            "holdfast_request_seconds",
            "Requests by route and result, from their headers to their answer.",
            ("method", "route", "code"),
            SECONDS,
        )

    async def __call__(self, request: Any) -> web.StreamResponse:
        """The answer to a request."""
        return await self.cross(request, self._handle)

    async def cross(self, request: web.Request, handle: Handle) -> web.StreamResponse:
        """The answer to a request by a handler other than the application."""
        started = time.perf_counter()
        headers = request.headers
        request_id = headers.get("X-Request-ID")
        if request_id is None or not _given_id.fullmatch(request_id):
            request_id = f"{_process}{next(_numbers):08x}"
        REQUEST_ID.set(request_id)
        connection: Connection = request.protocol  # type: ignore[assignment]
        response = await self._answer(request, handle, connection)
        if not response.prepared:  # else its headers are sent, and perhaps all of it
            _complete(request, response, self._origins)
            if connection.is_newcomer or self._draining.is_set() or not request.content.is_eof():
                response.force_close()
        self._tell(request, response, time.perf_counter() - started)
        return response

    async def _answer(
        self, request: web.Request, handle: Handle, connection: Connection
    ) -> web.StreamResponse:
        """What the handler answers, or the error that stands for what it raised."""
        try:
            if connection.has_odd_bytes:
                _check_bytes(request)
            if connection.is_newcomer and not request.path.startswith(MONITORED):
                raise Refusal("overloaded", "Too many connections are open; try again shortly.")
            self._origins.check_host(request)
            return await handle(request)
        except Refusal as refusal:
            return responses.respond_code(refusal.code, refusal.detail, **refusal.fields)
        except web.HTTPNotFound:
            return responses.respond_code("not_found")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return self._origins.preflight(request, allowed) or _refuse_method(allowed)
        except web.HTTPExpectationFailed:
            return responses.respond_code("expectation_failed")
        except ClientConnectionResetError:  # while it was told to go on with its body
            return responses.respond_code("bad_request", "The connection was lost.")
        except Exception:
            logger.exception("A request failed")
            return responses.respond_code("internal_error")

    def _tell(self, request: web.Request, response: web.StreamResponse, seconds: float) -> None:
        """Count a request, and log its line."""
        status, code = response.status, response.get(CODE, "")
        if status != SESSION:
            # Callers can invent paths and methods: those of no route have no name.
            route = request.get(ROUTE)
            method, path = (route.method, route.path) if route else ("", "")
            self._requests.observe((method, path, code or str(status)), seconds)
        path = request.rel_url.raw_path
        is_quiet = status == 200 and path.startswith(MONITORED)
        level = logging.ERROR if status == 500 else [logging.INFO, logging.DEBUG][is_quiet]
        if logger.isEnabledFor(level):
            log_request(
                RequestLine(
                    time=datetime.now(UTC),
                    level=logging.getLevelName(level).lower(),
                    logger=logger.name,
                    message="request",
                    request_id=REQUEST_ID.get(),
                    method=request.method,
                    path=path,
                    status=status,
                    code=code,
                    ms=round(seconds * 1000, 2),
                    caller=request[CALLER].name if CALLER in request else "",
                    remote=self._clients.address(request),
                )
            )


async def begin(request: web.Request, response: web.StreamResponse) -> None:
    """Send the headers of an answer that its handler writes piece by piece."""
    _complete(request, response, request.app[ORIGINS])
    await response.prepare(request)


def _complete(request: web.Request, response: web.StreamResponse, origins: Origins) -> None:
    """Add what every answer says beside its content."""
    response.headers["X-Request-ID"] = REQUEST_ID.get()
    if "X-Content-Type-Options" not in response.headers:
        for name, value in PROTECTION.items():
            response.headers.setdefault(name, value)
    if "Origin" in request.headers:
        response.headers.update(origins.headers(request))


def _check_bytes(request: web.Request) -> None:
    for name in READ_HEADERS:
        if not all(value.isascii() for value in request.headers.getall(name, ())):
            raise Refusal("bad_request", f"{name} holds bytes that are no ASCII.")


def _refuse_method(allowed: str) -> web.Response:
    response = responses.respond_code("method_not_allowed", f"Allowed here: {allowed}.")
    response.headers["Allow"] = allowed
    return response
