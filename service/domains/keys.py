"""Keys by which other systems call: made, listed and revoked by admins."""

from typing import Annotated, Literal

import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.web import responses
from service.web.auth import digest, new_key
from service.web.bodies import MAX_BIGINT, Done, Timestamp
from service.web.context import CALLER, STORE_ID, call, number_of, read
from service.web.routing import ADMINS, Routes

CREATE_API_KEY = text(
    "SELECT * FROM create_api_key(:store_id, :name, :key_hash, CAST(:scopes AS text[]),"
    " :expires_at, :actor)"
)
LIST_API_KEYS = text("SELECT * FROM list_api_keys(:store_id, :after, :limit)")
REVOKE_API_KEY = text("SELECT * FROM revoke_api_key(:store_id, :key_id, :actor)")

KeyScope = Literal["reserve", "stock", "orders", "bookings", "admin"]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /keys: what it is for, what it may do (without choice all but admin), until when."""

    name: Name
    scopes: Annotated[list[KeyScope], msgspec.Meta(min_length=1, max_length=5)] | None = None
    expires_at: Timestamp | None = None


class KeysQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /keys: which page."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class MadeKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new key. `key` is told here and never again."""

    key_id: int
    name: str
    scopes: list[KeyScope]
    created_at: str
    expires_at: str | None
    key: str


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key as admins see one."""

    key_id: int
    name: str
    scopes: list[KeyScope]
    created_at: str
    last_used_at: str | None
    """To the minute; null: never."""
    expires_at: str | None
    revoked_at: str | None


class Keys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of keys by id; `next` is the `after` of the page that follows, or null."""

    keys: list[Key]
    next: int | None


routes = Routes()


@routes.post(
    "/keys",
    ADMINS,
    scope="admin",
    body=NewKey,
    answer=MadeKey,
    codes=("created", "unknown_store", "invalid_request"),
    takes_key=False,
)
async def create_key(request: web.Request, wanted: NewKey) -> web.Response:
    """Make a key of the store, told once."""
    key = new_key(request[STORE_ID])
    row = await call(
        request,
        CREATE_API_KEY,
        store_id=request[STORE_ID],
        key_hash=digest(key),
        actor=request[CALLER].name,
        **msgspec.structs.asdict(wanted),
    )
    results.check(row, store_id=request[STORE_ID])
    document = msgspec.json.decode(row.document)
    return responses.json_response(document | {"key": key}, 201, row.result_code)


@routes.get(
    "/keys", ADMINS, scope="admin", query=KeysQuery, answer=Keys, codes=("ok", "unknown_store")
)
async def list_keys(request: web.Request, query: KeysQuery) -> web.Response:
    """The store's keys by id, revoked ones too: `after`, `limit`; `next` is the next `after`."""
    store = {"store_id": request[STORE_ID]}
    row = await read(request, LIST_API_KEYS, **store, **msgspec.structs.asdict(query))
    return responses.respond(row, **store)


@routes.delete(
    "/keys/{key_id}",
    ADMINS,
    scope="admin",
    answer=Done,
    codes=("ok", "already_revoked", "unknown_key"),
)
async def revoke_key(request: web.Request) -> web.Response:
    """A key opens nothing any more, in every process within two seconds."""
    key_id = number_of(request, "key_id", "unknown_key")
    row = await call(
        request,
        REVOKE_API_KEY,
        store_id=request[STORE_ID],
        key_id=key_id,
        actor=request[CALLER].name,
    )
    results.check(row, key_id=key_id)
    message = "The key opens nothing any more."
    return responses.json_response({"status": "success", "message": message})
