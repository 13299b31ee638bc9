"""The application: routes of every domain, and who is admitted to them."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec
from aiohttp import web

from service import domains
from service.database.pool import Database, begin_patience
from service.database.readiness import prove_ready
from service.results import Refusal
from service.settings import Settings
from service.web import (
    api_pages,
    dashboard,
    earlier_clients,
    openapi,
    responses,
    stock_lane,
)
from service.web.auth import AUTH, Auth, bearer_of
from service.web.bodies import MAX_BYTES, check_text, read_body, read_query, refuse_body
from service.web.boundary import DRAINING
from service.web.clients import CLIENTS, Clients
from service.web.context import CALLER, DATABASE, ROUTE, ROUTES, SETTINGS, STORE_ID
from service.web.idempotency import KEY_HEADER, answer_once
from service.web.limits import Limiter
from service.web.metrics import METRICS, Metrics
from service.web.origins import ORIGINS, Origins
from service.web.routing import ANONYMOUS, EVERYONE, Route, Routes
from service.web.sign_in import identify_basic, is_basic

PUBLIC_LIMIT = web.AppKey("PUBLIC_LIMIT", Limiter)
"""How often each address may POST to what is open to all."""
PUBLIC_SECONDS = 60.0

health = Routes("")


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the service is."""

    status: Literal["live", "ready"]


@health.get("/health/live", EVERYONE, answer=Health, also=("forbidden",))
async def live(request: web.Request) -> web.Response:
    """The process runs; says nothing about PostgreSQL."""
    _check_monitor(request)
    return responses.json_response({"status": "live"})


@health.get("/health/ready", EVERYONE, answer=Health, also=("forbidden",))
async def ready(request: web.Request) -> web.Response:
    """Requests can be served now: PostgreSQL reserves, and we are not stopping."""
    _check_monitor(request)
    if request.app[DRAINING].is_set():
        raise Refusal("shutting_down")
    await prove_ready(request.app[DATABASE], request.app[SETTINGS].store)
    return responses.json_response({"status": "ready"})


def _check_monitor(request: web.Request) -> None:
    request.app[CLIENTS].check_monitor(request)


class Served:
    """A route of an application; what each request needs of it is worked out once."""

    def __init__(self, app: web.Application, route: Route) -> None:
        settings = app[SETTINGS]
        self._auth, self._limit, self._origins = app[AUTH], app[PUBLIC_LIMIT], app[ORIGINS]
        self._default_store = settings.store
        self._route = route
        self._is_for_all = ANONYMOUS.role in route.audience
        is_development = settings.environment == "development"
        self._is_open = self._is_for_all or (route.opens and is_development)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Admit a request to the route, and let the route's handler answer."""
        route = request[ROUTE] = self._route
        begin_patience()
        await self._admit(request)
        arguments = await read_arguments(request, route)
        if route.takes_key and KEY_HEADER in request.headers:
            return await answer_once(request, route, arguments)
        return await route.handler(request, *arguments)

    async def _admit(self, request: web.Request) -> None:
        """Let the route be called by its audience alone, and find the store that the call is about.

        Where everyone may call, credentials are not looked at: who sends an old token along with a
        new password can sign in.
        """
        route, match = self._route, request.match_info
        if route.is_limited:
            wait = self._limit.take(self._auth.client_address(request))
            if wait:
                raise Refusal("too_many_requests", retry_after=wait)
        if route.judges_origin:
            self._origins.check_write(request)
        store_id = match.get("store_id", self._default_store)
        caller = ANONYMOUS
        request[STORE_ID] = store_id
        if route.takes_basic and is_basic(request):
            caller = await identify_basic(request)
        elif not self._is_for_all and (bearer := bearer_of(request)) is not None:
            caller = await self._auth.identify(bearer)
        request[CALLER] = caller
        if caller.store_id not in (None, store_id) and not route.any_store:
            raise Refusal("not_found")
        if caller is ANONYMOUS:
            if not self._is_open:
                raise Refusal("unauthorized")
        elif not route.admits(caller):
            raise Refusal(caller.lacks or "forbidden", role=caller.role)
        for name, value in match.items():
            check_text(name, value, "path")


async def read_arguments(request: web.Request, route: Route) -> list[Any]:
    """What a route's handler takes after the request: its query and its body, as declared."""
    arguments: list[Any] = []
    if route.query:
        arguments.append(read_query(request, route.query))
    if route.absent_body is not None and not request.body_exists:
        arguments.append(route.absent_body)
    elif route.decoder:
        arguments.append(await read_body(request, route.decoder))
    elif not route.reads_body and request.body_exists:
        await refuse_body(request)
    return arguments


def create_app(
    settings: Settings, database: Database, metrics_folder: Path | None = None
) -> web.Application:
    """The application on a database; closing it closes the database.

    `metrics_folder` is where processes that share a port write what they have counted.
    """
    app = web.Application(client_max_size=MAX_BYTES)
    app[SETTINGS] = settings
    app[DRAINING] = asyncio.Event()
    app[DATABASE] = database
    app[METRICS] = Metrics(metrics_folder)
    app[CLIENTS] = Clients(settings)
    app[ORIGINS] = Origins(settings)
    app[AUTH] = Auth(settings, database)
    app[PUBLIC_LIMIT] = Limiter(settings.public_limit, PUBLIC_SECONDS)
    app[ROUTES] = {}
    stock_lane.set_up(app)
    for domain in domains.find():
        if hasattr(domain, "set_up"):
            domain.set_up(app)
    found = (route for domain in domains.find() for route in domain.routes)
    pages = [*api_pages.routes, *dashboard.routes]
    earlier = earlier_clients.routes_of_before()
    _add_routes(app, [*health, *openapi.routes, *pages, *found, *earlier])
    app.on_cleanup.append(_close)
    return app


def _add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Words before parameters: /bookings/cancel is no booking whose id is "cancel"."""
    ordered = sorted(routes, key=lambda each: each.path)  # a brace sorts behind all letters
    words = {each.path for each in ordered}
    for route in ordered:
        handler = Served(app, route).answer
        app[ROUTES][handler] = route
        for prefix in route.prefixes:
            app.router.add_route(route.method, prefix + _pattern(route.path, words), handler)


def _pattern(path: str, paths: set[str]) -> str:
    """A path as the router takes it: no word of another path is an id.

    Else PUT /users/me would mean the user "me", and be told that there is none; now it is 405.
    """
    before, _, after = path.partition("{")
    name, _, rest = after.partition("}")
    next_to = (each.removeprefix(before) for each in paths if each.startswith(before))
    words = {each.partition("/")[0] for each in next_to if not each.startswith("{")} - {""}
    if not name or not words:
        return path
    return f"{before}{{{name}:(?!(?:{'|'.join(sorted(words))})(?:/|$))[^/]+}}{rest}"


async def _close(app: web.Application) -> None:
    await app[AUTH].close()
    await app[DATABASE].close()
