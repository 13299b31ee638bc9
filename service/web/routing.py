"""Routes: each declared where its handler stands, with who may call it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler

API = "/api/v1"
STORE_API = API + "/stores/{store_id}"

Audience = frozenset[str]
"""Roles: service (an API key), customer, staff, admin; anonymous is who shows no credentials."""

EVERYONE: Audience = frozenset({"anonymous", "service", "customer", "staff", "admin"})
OPERATORS: Audience = frozenset({"service", "staff", "admin"})
"""Callbacks, reservations, stores, orders: their routes are open to all in development."""
USERS: Audience = frozenset({"customer", "staff", "admin"})
"""Whoever has signed in, about what is their own."""
STAFF: Audience = frozenset({"staff", "admin"})
ADMINS: Audience = frozenset({"admin"})

H = TypeVar("H", bound=Handler)


class Caller(NamedTuple):
    """Who sent a request."""

    role: str
    name: str
    """Names the caller in ledgers and logs: `user:17`, `key:3`, `anonymous`."""
    user_id: int | None = None
    store_id: str | None = None
    """The only store whose things this caller may see; None: any."""


ANONYMOUS = Caller("anonymous", "anonymous")


class Route(NamedTuple):
    """One route: a method and a path below each of `prefixes`."""

    method: str
    path: str
    handler: Handler
    audience: Audience
    takes_key: bool
    """Whether it honours an Idempotency-Key header."""
    is_open_in_development: bool
    prefixes: tuple[str, ...]


class Routes:
    """The routes of one domain, by default of the default store and of any store by its id."""

    def __init__(self, *prefixes: str) -> None:
        self._prefixes = prefixes or (API, STORE_API)
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def get(self, path: str, audience: Audience) -> Callable[[H], H]:
        """Declare a route that reads."""
        return self._add("GET", path, audience)

    def post(self, path: str, audience: Audience, *, takes_key: bool = False) -> Callable[[H], H]:
        """Declare a route that acts; `takes_key` where its body brings no id of its own."""
        return self._add("POST", path, audience, takes_key=takes_key)

    def put(
        self, path: str, audience: Audience, *, is_open_in_development: bool = False
    ) -> Callable[[H], H]:
        """Declare a route that sets something to what its body says."""
        return self._add("PUT", path, audience, is_open=is_open_in_development)

    def patch(self, path: str, audience: Audience) -> Callable[[H], H]:
        """Declare a route that changes parts of something."""
        return self._add("PATCH", path, audience)

    def delete(self, path: str, audience: Audience) -> Callable[[H], H]:
        """Declare a route that removes something."""
        return self._add("DELETE", path, audience)

    def _add(
        self,
        method: str,
        path: str,
        audience: Audience,
        *,
        takes_key: bool = False,
        is_open: bool = False,
    ) -> Callable[[H], H]:
        is_open = is_open or audience == OPERATORS

        def declare(handler: H) -> H:
            self._routes.append(
                Route(method, path, handler, audience, takes_key, is_open, self._prefixes)
            )
            return handler

        return declare


CALLER = web.RequestKey("CALLER", Caller)
ROUTES = web.AppKey("ROUTES", dict[Handler, Route])
"""Each handler's declaration."""
