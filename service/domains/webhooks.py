"""Webhooks: the targets that a store has told of events, and what they were told."""

import base64
import secrets
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from aiohttp import web
from sqlalchemy import text
from yarl import URL

from service.delivery.addresses import ForbiddenAddress, Guard
from service.delivery.webhook import guard_of
from service.jobs import Job, done_by, found_by
from service.settings import Settings
from service.web import responses
from service.web.bodies import MAX_BIGINT, refuse_field
from service.web.context import CALLER, SETTINGS, call, ids_of, number_of, read
from service.web.routing import STAFF, Routes

LIST_HOOKS = text("SELECT * FROM list_hooks(:store_id, :after, :limit)")
CREATE_HOOK = text(
    "SELECT * FROM create_hook(:store_id, :url, CAST(:events AS text[]), :secret, :actor)"
)
CHANGE_HOOK = text(
    "SELECT * FROM change_hook(:store_id, :hook_id, CAST(:changes AS jsonb), :actor)"
)
ROTATE_HOOK_SECRET = text("SELECT * FROM rotate_hook_secret(:store_id, :hook_id, :secret, :actor)")
REMOVE_HOOK = text("SELECT * FROM remove_hook(:store_id, :hook_id, :actor)")
LIST_DELIVERIES = text("SELECT * FROM list_deliveries(:store_id, :hook_id, :after, :limit)")
RESEND_DELIVERY = text("SELECT * FROM resend_delivery(:store_id, :hook_id, :delivery_id, :actor)")
FIND_NEW_EVENTS = text("SELECT * FROM find_due_messages('webhook')")
SPLIT_EVENTS = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM split_events(:store_id, :limit)"
)

SECRET_BYTES = 32
LONGEST_URL = 2000

EventType = Literal[
    "booking.requested",
    "booking.confirmed",
    "booking.declined",
    "booking.cancelled",
    "booking.moved",
    "booking.seated",
    "booking.finished",
    "booking.no_show",
    "order.paid",
    "order.cancelled",
    "order.expired",
    "order.refunded",
    "reservation.expired",
    "purchase.made",
    "stock.low",
]
"""As event_types() has them."""
Events = Annotated[list[EventType], msgspec.Meta(min_length=1, max_length=100)] | None
"""The types that a target is told of; null: all."""


class HookUrl(str):
    """Where events are posted to: http or https, a host, neither a login nor a fragment."""

    SCHEMA: ClassVar = {"type": "string", "format": "uri", "pattern": "^https?://"}

    @classmethod
    def parse(cls, value: object) -> "HookUrl":
        """`value` as such a URL; ValueError when it is none."""
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_URL:
            raise ValueError(f"Expected a URL of at most {LONGEST_URL} characters")
        if not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("Expected a URL of printable ASCII characters without spaces")
        url = URL(value)
        if not value.startswith(("http://", "https://")) or not url.host or not url.port:
            raise ValueError("Expected http://HOST/… or https://HOST/…")
        if url.user is not None or url.password is not None or "#" in value:
            raise ValueError("Expected a URL without a login and without a fragment")
        return cls(value)


class NewHook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /hooks: tell this URL of events."""

    url: HookUrl
    events: Events = None


class HookChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PATCH /hooks/{hook_id}: what is left out stays as it is."""

    is_active: bool | msgspec.UnsetType = msgspec.UNSET
    events: Events | msgspec.UnsetType = msgspec.UNSET


class Hook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target of webhooks."""

    hook_id: int
    url: str
    events: Events
    is_active: bool
    failing_since: str | None
    """When the failures began; null: the last attempt was good."""
    off_at: str | None
    off_reason: Literal["staff", "gone", "failing"] | None
    """gone: it answered 410; failing: three days of failures only."""
    old_secret_until: str | None
    """Until when the secret before signs along."""
    created_at: str


class HookWithSecret(Hook, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A target with its new secret, which is told this once."""

    secret: str
    """whsec_…, as Standard Webhooks has it."""


class Hooks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of targets by id; `next` is the `after` of the page that follows, or null."""

    hooks: list[Hook]
    next: int | None


class RemovedHook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A target that is gone."""

    hook_id: int
    skipped: int
    """How many deliveries waited for it and are not made."""


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of one event for one target."""

    delivery_id: int
    event_id: str
    """The webhook-id."""
    type: EventType
    status: Literal["waiting", "delivered", "skipped", "failed"]
    attempts: int
    reply_code: int | None
    """The HTTP status of the last answer."""
    last_error: str | None
    created_at: str
    due_at: str | None
    """When it is tried next; null: never."""
    ended_at: str | None


class Deliveries(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of deliveries, newest first; `next` is the `after` of the next page, or null."""

    deliveries: list[Delivery]
    next: int | None


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which page."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


routes = Routes()


def jobs(settings: Settings) -> list[Job]:
    """Events are split into a delivery for each target that wants them."""
    return [Job("webhooks' events", found_by(FIND_NEW_EVENTS), done_by(SPLIT_EVENTS))]


@routes.get(
    "/hooks", STAFF, scope="admin", query=ListQuery, answer=Hooks, codes=("ok", "unknown_store")
)
async def list_hooks(request: web.Request, query: ListQuery) -> web.Response:
    """The store's targets by id, without their secrets."""
    page = msgspec.structs.asdict(query)
    return responses.respond(await read(request, LIST_HOOKS, **ids_of(request), **page))


@routes.post(
    "/hooks",
    STAFF,
    scope="admin",
    body=NewHook,
    answer=HookWithSecret,
    codes=("created", "unknown_store", "invalid_request"),
    takes_key=False,
)
async def create_hook(request: web.Request, hook: NewHook) -> web.Response:
    """Tell a URL of events from now on: 201, with the secret that signs them."""
    try:
        check_url(guard_of(request.app[SETTINGS]), hook.url)
    except ForbiddenAddress as error:
        raise refuse_field("url", str(error)) from None
    row = await call(
        request,
        CREATE_HOOK,
        **ids_of(request),
        **msgspec.structs.asdict(hook),
        secret=new_secret(),
        actor=request[CALLER].name,
    )
    return responses.respond(row, **ids_of(request))


@routes.patch(
    "/hooks/{hook_id}",
    STAFF,
    scope="admin",
    body=HookChange,
    answer=Hook,
    codes=("ok", "unknown_hook", "unknown_store", "invalid_request"),
)
async def change_hook(request: web.Request, change: HookChange) -> web.Response:
    """Switch a target on or off, or tell it of other events."""
    changes = msgspec.json.encode(change).decode()
    return await _call(request, CHANGE_HOOK, changes=changes)


@routes.delete(
    "/hooks/{hook_id}",
    STAFF,
    scope="admin",
    answer=RemovedHook,
    codes=("ok", "unknown_hook", "unknown_store"),
)
async def remove_hook(request: web.Request) -> web.Response:
    """Remove a target, with its log; what waits for it is not delivered."""
    return await _call(request, REMOVE_HOOK)


@routes.post(
    "/hooks/{hook_id}/rotate",
    STAFF,
    scope="admin",
    answer=HookWithSecret,
    codes=("ok", "unknown_hook", "unknown_store", "invalid_request"),
    takes_key=False,
)
async def rotate_hook_secret(request: web.Request) -> web.Response:
    """A new secret; the one before signs along for a day."""
    return await _call(request, ROTATE_HOOK_SECRET, secret=new_secret())


@routes.get(
    "/hooks/{hook_id}/deliveries",
    STAFF,
    scope="admin",
    query=ListQuery,
    answer=Deliveries,
    codes=("ok", "unknown_hook", "unknown_store"),
)
async def list_deliveries(request: web.Request, query: ListQuery) -> web.Response:
    """What a target was told, or is to be told, newest first."""
    ids = _ids(request)
    row = await read(request, LIST_DELIVERIES, **ids, **msgspec.structs.asdict(query))
    return responses.respond(row, **ids)


@routes.post(
    "/hooks/{hook_id}/deliveries/{delivery_id}/resend",
    STAFF,
    scope="admin",
    answer=Delivery,
    codes=("ok", "created", "hook_off", "unknown_delivery", "unknown_hook", "unknown_store"),
)
async def resend_delivery(request: web.Request) -> web.Response:
    """Try a delivery at once; of one that was delivered, make another (201)."""
    delivery_id = number_of(request, "delivery_id", "unknown_delivery")
    ids = _ids(request) | {"delivery_id": delivery_id}
    row = await call(request, RESEND_DELIVERY, **ids, actor=request[CALLER].name)
    return responses.respond(row, **ids)


async def _call(request: web.Request, statement: Any, **parameters: Any) -> web.Response:
    ids = _ids(request)
    row = await call(request, statement, **ids, **parameters, actor=request[CALLER].name)
    return responses.respond(row, **ids)


def _ids(request: web.Request) -> dict[str, Any]:
    return {**ids_of(request), "hook_id": number_of(request, "hook_id", "unknown_hook")}


def new_secret() -> str:
    """A secret as Standard Webhooks has it."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def check_url(guard: Guard, url: str) -> None:
    """Raise ForbiddenAddress for a URL whose host is an address that is not connected to.

    Names are judged at each delivery, when they are resolved.
    """
    with suppress(ValueError):
        guard.check(URL(url).host or "")
