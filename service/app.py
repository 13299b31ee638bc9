"""The application: routes of every domain, and the one boundary all requests cross."""

import asyncio
import itertools
import logging
import re
import secrets
import time

from aiohttp import web
from aiohttp.typedefs import Handler
from sqlalchemy import text

from service.database.pool import Database
from service.domains import accounts, catalog, feed, reports, reservations, stock, stores, users
from service.logs import REQUEST_ID, Event
from service.results import Refusal
from service.settings import Settings
from service.web import responses
from service.web.auth import AUTH, Auth, bearer_of
from service.web.bodies import MAX_BYTES, check_text
from service.web.context import DATABASE, SETTINGS, STORE_ID
from service.web.idempotency import KEY_HEADER, answer_once
from service.web.responses import CODE
from service.web.routing import ANONYMOUS, CALLER, EVERYONE, ROUTES, Caller, Route, Routes

HEALTH = "/health/"

DRAINING = web.AppKey("DRAINING", asyncio.Event)

READY_SECONDS = 1.0
IS_MIGRATED = text("SELECT to_regproc('holdfast.reserve_stock_batch') IS NOT NULL AS answer")

logger = logging.getLogger("holdfast.http")
_given_id = re.compile(r"[!-~]{1,128}")
_process = secrets.token_hex(4)
_numbers = itertools.count(1)

health = Routes("")


@health.get("/health/live", EVERYONE)
async def live(request: web.Request) -> web.Response:
    """The process runs; says nothing about PostgreSQL."""
    return responses.json_response({"status": "live"})


@health.get("/health/ready", EVERYONE)
async def ready(request: web.Request) -> web.Response:
    """Requests can be served now: PostgreSQL answers, is migrated, and we are not stopping."""
    if request.app[DRAINING].is_set():
        raise Refusal("shutting_down")
    try:
        async with asyncio.timeout(READY_SECONDS):
            row = await request.app[DATABASE].read(IS_MIGRATED)
    except TimeoutError:
        raise Refusal("database_unavailable") from None
    if not row.answer:
        raise Refusal("database_unavailable", "The database is not migrated yet.")
    return responses.json_response({"status": "ready"})


@web.middleware
async def boundary(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its id, turn every failure into the one error shape, log one line."""
    started = time.perf_counter()
    request_id = request.headers.get("X-Request-ID", "")
    if not _given_id.fullmatch(request_id):
        request_id = f"{_process}{next(_numbers):08x}"
    REQUEST_ID.set(request_id)
    response = await _answer(request, handler)
    if not response.prepared:  # else its headers are sent, and perhaps all of it
        response.headers["X-Request-ID"] = request_id
    if request.app[DRAINING].is_set():
        response.force_close()
    is_quiet = response.status == 200 and request.path.startswith(HEALTH)
    level = logging.ERROR if response.status == 500 else [logging.INFO, logging.DEBUG][is_quiet]
    if logger.isEnabledFor(level):
        fields = {
            "request_id": request_id,
            "method": request.method,
            "path": request.rel_url.raw_path,
            "status": response.status,
            "code": response.get(CODE, ""),
            "ms": round((time.perf_counter() - started) * 1000, 2),
            "remote": request.remote,
        }
        logger.handle(Event(logger.name, level, "request", fields))
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler answers, or the error that stands for what it raised."""
    try:
        route = await admit(request)
        if route and route.takes_key and KEY_HEADER in request.headers:
            return await answer_once(request, handler)
        return await handler(request)
    except Refusal as refusal:
        return responses.respond(refusal.code, refusal.detail, **refusal.fields)
    except web.HTTPNotFound:
        return responses.respond("not_found")
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        response = responses.respond("method_not_allowed", f"Allowed here: {allowed}.")
        response.headers["Allow"] = allowed
        return response
    except Exception:
        logger.exception("A request failed")
        return responses.respond("internal_error")


async def identify(request: web.Request) -> Caller:
    """Who sends a request, by its Authorization header; Refusal 401 where that is no good."""
    return await request.app[AUTH].identify(bearer_of(request))


async def admit(request: web.Request) -> Route | None:
    """Let a route be called by its audience alone, and find the store that the call is about.

    Where everyone may call, credentials are not looked at: who sends an old token along with a
    new password can sign in.
    """
    match = request.match_info
    route = request.app[ROUTES].get(match.handler)
    if route is None:  # there is no such path, or it has no such method
        return None
    settings = request.app[SETTINGS]
    store_id = match.get("store_id", settings.store)
    is_for_all = ANONYMOUS.role in route.audience
    caller = request[CALLER] = ANONYMOUS if is_for_all else await identify(request)
    if caller.store_id not in (None, store_id):
        raise Refusal("not_found")
    is_open = route.is_open_in_development and settings.environment == "development"
    if caller is ANONYMOUS and not (is_for_all or is_open):
        raise Refusal("unauthorized")
    if caller is not ANONYMOUS and caller.role not in route.audience:
        raise Refusal("forbidden", role=caller.role)
    for name, value in match.items():
        check_text(name, value)
    request[STORE_ID] = store_id
    return route


def create_app(settings: Settings, database: Database) -> web.Application:
    """The application on a database; closing it closes the database."""
    app = web.Application(middlewares=[boundary], client_max_size=MAX_BYTES)
    app[SETTINGS] = settings
    app[DRAINING] = asyncio.Event()
    app[DATABASE] = database
    app[AUTH] = Auth(settings, database)
    app[reservations.RESERVATIONS] = reservations.reservation_coalescer(database)
    app[reservations.BATCHES] = reservations.batch_coalescer(database)
    app[feed.HUB] = feed.Hub(database)
    app[reports.WRITING] = asyncio.Semaphore(reports.AT_ONCE)
    app[ROUTES] = {}
    domains = (reservations, stock, stores, reports, feed, users, catalog, accounts)
    for routes in (health, *(domain.routes for domain in domains)):
        for route in routes:
            app[ROUTES][route.handler] = route
            for prefix in route.prefixes:
                app.router.add_route(route.method, prefix + route.path, route.handler)
    app.on_shutdown.append(_say_goodbye)
    app.on_cleanup.append(_close)
    return app


async def _say_goodbye(app: web.Application) -> None:
    await app[feed.HUB].close()


async def _close(app: web.Application) -> None:
    await app[reservations.RESERVATIONS].close()
    await app[reservations.BATCHES].close()
    await app[AUTH].close()
    await app[DATABASE].close()
