"""Routes: each declared once, where its handler stands.

Admission, decoding, the OpenAPI document, the docs and the tests read this declaration and nothing
else. A handler takes the request and then what its route declares: the query, the body.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal, NamedTuple, TypedDict, TypeVar, Unpack

import msgspec
from aiohttp import web

from service.web.bodies import parse_custom

API = "/api/v1"
STORE_API = API + "/stores/{store_id}"

Audience = frozenset[str]
"""Roles: service (an API key), customer, staff, admin; anonymous is who shows no credentials."""

EVERYONE: Audience = frozenset({"anonymous", "service", "customer", "staff", "admin"})
OPERATORS: Audience = frozenset({"service", "staff", "admin"})
"""Callbacks, reservations, stores, orders."""
USERS: Audience = frozenset({"customer", "staff", "admin"})
"""Whoever has signed in, about what is their own."""
SIGNED_IN: Audience = OPERATORS | USERS
"""Customers about what is their own, everybody else about all that the store has."""
STAFF: Audience = frozenset({"staff", "admin"})
ADMINS: Audience = frozenset({"admin"})

NUMBERED = frozenset(
    {"user", "account", "table", "booking", "key", "session", "hook", "delivery", "message"}
)
"""What has an id that was made here: a number. Other ids are texts chosen outside."""

Scope = Literal["", "reserve", "stock", "orders", "bookings", "admin"]
"""What a key must have been given to call a route; empty: any key of the audience."""

Handler = Callable[..., Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)


class Caller(NamedTuple):
    """Who sent a request."""

    role: str
    name: str
    """Names the caller in ledgers and logs: `user:17`, `key:3`, `anonymous`."""
    user_id: int | None = None
    store_id: str | None = None
    """The only store whose things this caller may see; None: any."""
    scopes: frozenset[str] | None = None
    """What a key may do; None: whatever its role may."""
    login: str = ""
    """Of a user."""
    session_id: int | None = None
    token_number: int | None = None
    expires_at: int | None = None
    """Of a user's token, in Unix seconds."""
    key_id: int | None = None
    lacks: str = ""
    """The code of what a user must do before acting in the own role; until then a customer."""


ANONYMOUS = Caller("anonymous", "anonymous")


class Declared(TypedDict, total=False):
    """What a route may say of itself beside its path and audience."""

    scope: Scope
    query: type[msgspec.Struct]
    """The struct of the query string."""
    body: Any
    """The type of the JSON body; without one a body must be empty, or an empty object."""
    reads_body: bool
    """The handler reads the body itself, because it is no JSON or because its bytes are signed."""
    read_as: Any
    """The type of a JSON body that the handler reads itself."""
    answer: Any
    """The type of the success document."""
    media: str
    """What a success is where it is no JSON document: `text/html`."""
    pages: tuple[int, ...]
    """Statuses of refusals that are told as `media`, for people, not as an error."""
    is_socket: bool
    """A success is a WebSocket."""
    also: tuple[str, ...]
    """Codes of the handler itself, where it calls no function that could give them."""
    codes: tuple[str, ...]
    """Every result code that the route's functions can give."""
    takes_key: bool
    """Whether a POST honours an Idempotency-Key; not where the answer holds a secret."""
    known_by: Callable[..., str]
    """Of a POST open to all that takes a key: by what a stranger is known, of the handler's
    arguments. One stranger's keys are not another's; an address would not do, since many share
    one, and a phone that repeats a request may have another by then."""
    opens: bool
    """Whether development asks for no credentials."""
    any_store: bool
    """The handler says which stores its caller may see, not only the caller's own."""
    is_unlimited: bool
    """A POST open to all that HOLDFAST_PUBLIC_LIMIT does not count: it has a limit of its own, or
    is signed."""
    judges_origin: bool
    """Whether development refuses other sites' pages; not where a link or a signature is the
    credential."""
    is_file: bool
    """A file that a page loads: no part of the API, and not in its document."""
    takes_basic: bool
    """Whether login and password may come with the request (HTTP Basic): for earlier clients."""
    is_documented: bool
    """Whether it stands in the OpenAPI document; paths of earlier clients do not."""


class Route(NamedTuple):
    """One route: a method and a path below each of `prefixes`. See Declared for the rest."""

    method: str
    path: str
    handler: Handler
    audience: Audience
    prefixes: tuple[str, ...]
    scope: Scope = ""
    query: type[msgspec.Struct] | None = None
    body: Any = None
    reads_body: bool = False
    read_as: Any = None
    answer: Any = None
    media: str = ""
    pages: tuple[int, ...] = ()
    is_socket: bool = False
    also: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    takes_key: bool = False
    known_by: Callable[..., str] | None = None
    opens: bool = False
    any_store: bool = False
    is_unlimited: bool = False
    judges_origin: bool = True
    is_file: bool = False
    takes_basic: bool = False
    is_documented: bool = True
    decoder: msgspec.json.Decoder[Any] | None = None
    """Of `body`."""
    absent_body: Any = None
    """What no body at all stands for, where an empty object would do."""

    @property
    def is_limited(self) -> bool:
        """Whether each address may call it HOLDFAST_PUBLIC_LIMIT times a minute at most."""
        is_public = self.method == "POST" and ANONYMOUS.role in self.audience
        return is_public and not self.is_unlimited

    def admits(self, caller: Caller) -> bool:
        """Whether somebody with credentials may call: by role, a key also by its scopes.

        A key acts as an admin where it was given the scope `admin` on purpose, and only there.
        """
        if caller.role == "service" and self.scope == "admin":
            return "admin" in (caller.scopes or ())
        is_in_scope = caller.scopes is None or not self.scope or self.scope in caller.scopes
        return caller.role in self.audience and is_in_scope


class Routes:
    """The routes of one domain, by default of the default store and of any store by its id."""

    def __init__(self, *prefixes: str) -> None:
        self._prefixes = prefixes or (API, STORE_API)
        self._routes: list[Route] = []

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def get(self, path: str, audience: Audience, **declared: Unpack[Declared]) -> Callable[[H], H]:
        """Declare a route that reads."""
        return self._add("GET", path, audience, declared)

    def post(self, path: str, audience: Audience, **declared: Unpack[Declared]) -> Callable[[H], H]:
        """Declare a route that acts; it takes an Idempotency-Key unless it says otherwise."""
        return self._add("POST", path, audience, {"takes_key": True, **declared})

    def put(self, path: str, audience: Audience, **declared: Unpack[Declared]) -> Callable[[H], H]:
        """Declare a route that sets something to what its body says."""
        return self._add("PUT", path, audience, declared)

    def patch(
        self, path: str, audience: Audience, **declared: Unpack[Declared]
    ) -> Callable[[H], H]:
        """Declare a route that changes parts of something."""
        return self._add("PATCH", path, audience, declared)

    def delete(
        self, path: str, audience: Audience, **declared: Unpack[Declared]
    ) -> Callable[[H], H]:
        """Declare a route that removes something."""
        return self._add("DELETE", path, audience, declared)

    def _add(
        self, method: str, path: str, audience: Audience, declared: Declared
    ) -> Callable[[H], H]:
        body = declared.get("body")
        decoder = msgspec.json.Decoder(body, dec_hook=parse_custom) if body else None

        absent = _decode_nothing(decoder) if decoder else None

        def declare(handler: H) -> H:
            self._routes.append(
                Route(
                    *(method, path, handler, audience, self._prefixes),
                    **declared,
                    decoder=decoder,
                    absent_body=absent,
                )
            )
            return handler

        return declare


def _decode_nothing(decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        return decoder.decode(b"{}")
    except msgspec.ValidationError:
        return None
