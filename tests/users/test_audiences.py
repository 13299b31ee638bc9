"""Every route has an audience, and production holds it to that."""

import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from service.app import create_app
from service.database.connections import connected
from service.database.pool import Database
from service.database.roles import OWNER
from service.settings import Settings
from service.web import routing
from service.web.context import ROUTES
from service.web.routing import Route
from tests.support.aliases import Api
from tests.support.builders import SECRET, bearer, create_key, create_user, token_of
from tests.support.servers import STRATEGY, RealServer, with_database

DECLARED = {
    routing.EVERYONE,
    routing.OPERATORS,
    routing.USERS,
    routing.SIGNED_IN,
    routing.STAFF,
    routing.ADMINS,
}
ALL_ROUTES = [
    route
    for route in create_app(Settings(), Database("")).get(ROUTES, {}).values()
    if not route.is_file
]
ROLES_ELSEWHERE = {"elsewhere": "admin", "elsewhere's key": "service"}
CALLERS = ["anonymous", "customer", "staff", "admin", "service", "elsewhere", "elsewhere's key"]


class Everybody(NamedTuple):
    """The service in production, and one caller of each kind."""

    api: Api
    sql: Any
    users: dict[str, int]
    keys: dict[str, str]

    async def header(self, caller: str) -> dict[str, str]:
        if caller in self.users:  # made anew, for routes that end a session
            return bearer(await token_of(self.sql, self.api, self.users[caller]))
        return bearer(self.keys[caller]) if caller in self.keys else {}


@pytest.fixture(scope="module")
async def everybody(cluster: str, template: str) -> AsyncIterator[Everybody]:
    """One database for all routes: what they change does not matter here."""
    name = template.replace("template", "audiences")
    admin = await asyncpg.connect(cluster)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {STRATEGY}")
    url = with_database(cluster, name)
    settings = Settings(environment="production", jwt_secret=SECRET, public_limit=0)
    client = TestClient(RealServer(create_app(settings, Database(url))))
    async with connected(url, OWNER) as sql, client:
        roles = {
            role: await create_user(sql, role, role) for role in ("customer", "staff", "admin")
        }
        roles["elsewhere"] = await create_user(sql, "admin", "admin", "north")
        keys = {
            "service": await create_key(sql),
            "elsewhere's key": await create_key(sql, "north"),
        }
        yield Everybody(client, sql, roles, keys)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def expected(route: Route, caller: str) -> int | None:
    """The status that a caller is turned away with; None: is let in.

    Where the handler says which stores it tells of, those of elsewhere are judged by what they are.
    """
    if "anonymous" in route.audience or caller in route.audience:
        return None
    if caller == "anonymous":
        return 401
    if caller not in ROLES_ELSEWHERE:
        return 403
    if route.any_store and ROLES_ELSEWHERE[caller] not in route.audience:
        return 403
    return None if route.any_store and "{store_id}" not in route.path else 404


def test_every_route_has_a_declared_audience() -> None:
    app = create_app(Settings(), Database(""))
    handlers: set[Any] = {route.handler for route in app.router.routes()}
    assert handlers
    for route in app.router.routes():
        declared = app[ROUTES].get(route.handler)
        assert declared, f"{route} has no declared audience"
    assert handlers == set(app[ROUTES].keys())
    for declared in app[ROUTES].values():
        assert declared.audience in DECLARED, declared.path


def test_a_route_without_a_declaration_is_found() -> None:
    app = create_app(Settings(), Database(""))

    async def forgotten(request: web.Request) -> web.Response:
        raise AssertionError

    app.router.add_get("/forgotten", forgotten)
    assert any(route.handler not in app[ROUTES] for route in app.router.routes())


@pytest.mark.parametrize(
    "route", ALL_ROUTES, ids=[f"{route.method} {route.path}" for route in ALL_ROUTES]
)
async def test_production_holds_a_route_to_its_audience(everybody: Everybody, route: Route) -> None:
    for prefix in route.prefixes:
        path = (prefix + route.path).replace("{store_id}", "main")
        path = re.sub(r"\{\w+\}", "4711", path)
        for caller in CALLERS:
            await everybody.sql.execute("DELETE FROM sign_in_attempts")
            header = await everybody.header(caller)
            body: Any = None if route.method == "GET" else {}
            response = await everybody.api.request(route.method, path, headers=header, json=body)
            said = (await response.text(errors="replace"))[:200]
            where = f"{route.method} {path} by {caller}: {response.status} {said}"
            assert response.status < 500 or route.path == "/health/ready", where
            status = expected(route, caller)
            if status is None:
                is_let_in = response.status not in (401, 403) or "bad_signature" in said
                assert is_let_in, where
                assert '"not_found"' not in said, where
            else:
                code = {401: "unauthorized", 403: "forbidden", 404: "not_found"}[status]
                assert response.status == status, where
                assert f'"code":"{code}"' in said, where


@pytest.mark.parametrize(
    ("caller", "status"), [("anonymous", 404), ("service", 404), ("staff", 404), ("customer", 403)]
)
async def test_development_lets_operators_in_without_credentials_and_judges_those_given(
    api: Api, sql: Any, caller: str, status: int
) -> None:
    everybody = Everybody(api, sql, {}, {"service": await create_key(sql)})
    for role in ("customer", "staff"):
        everybody.users[role] = await create_user(sql, role, role)
    header = await everybody.header(caller)
    assert (await api.get("/api/v1/reservations/1", headers=header)).status == status
    assert (await api.get("/api/v1/reservations/1", headers=bearer("bad"))).status == 401
    assert (await api.get("/api/v1/users")).status == 401
