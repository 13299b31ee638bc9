"""Stores: the tenants, and what people call them."""

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.results import Refusal
from service.web import responses
from service.web.bodies import OutsideId
from service.web.context import CALLER, SETTINGS, STORE_ID, call, read
from service.web.routing import ADMINS, API, OPERATORS, Routes

LIST_STORES = text("SELECT * FROM list_stores(:only, :after, :limit)")
PUT_STORE = text("SELECT * FROM put_store(:store_id, :name, :actor)")


class StoresQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /stores: which page."""

    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class StoreName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT /stores/{id}: what people call the store; without it the name stays as it is."""

    name: Annotated[str, msgspec.Meta(max_length=200)] | msgspec.UnsetType = msgspec.UNSET


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A store as it is listed."""

    store_id: str
    name: str
    created_at: datetime


class Stores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of stores by id; `next` is the `after` of the page that follows, or null."""

    stores: list[Store]
    next: str | None


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A store and what people call it."""

    store_id: str
    name: str


class NamedStore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The store that was created or renamed."""

    store: Named


routes = Routes(API)


@routes.get(
    "/stores",
    OPERATORS,
    scope="stock",
    query=StoresQuery,
    answer=Stores,
    codes=("ok",),
    opens=True,
    any_store=True,
)
async def list_stores(request: web.Request, query: StoresQuery) -> web.Response:
    """The stores that the caller may see: the own one; all for admins of the default store."""
    only = None if _sees_all(request) else request[CALLER].store_id
    row = await read(request, LIST_STORES, only=only, **msgspec.structs.asdict(query))
    return responses.respond(row)


@routes.put(
    "/stores/{store_id}",
    ADMINS,
    scope="admin",
    body=StoreName,
    answer=NamedStore,
    codes=("ok", "created"),
    opens=True,
    any_store=True,
)
async def put_store(request: web.Request, body: StoreName) -> web.Response:
    """Create a store (201), or rename it (200)."""
    caller, store_id = request[CALLER], request[STORE_ID]
    if caller.store_id != store_id and not _sees_all(request):
        raise Refusal("not_found")
    OutsideId.check("store_id", store_id)
    name = None if body.name is msgspec.UNSET else body.name
    row = await call(request, PUT_STORE, store_id=store_id, name=name, actor=caller.name)
    return responses.respond(row)


def _sees_all(request: web.Request) -> bool:
    """Whether the caller is an admin of the default store, or, in development, nobody."""
    caller = request[CALLER]
    is_admin = caller.role == "admin" or "admin" in (caller.scopes or ())
    is_of_default_store = caller.store_id == request.app[SETTINGS].store
    return caller.store_id is None or (is_admin and is_of_default_store)
