"""The outbox: messages that were given up, and their second chance."""

from typing import Annotated, Literal

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.web import responses
from service.web.bodies import MAX_BIGINT
from service.web.context import CALLER, STORE_ID, call, number_of, read
from service.web.routing import STAFF, Routes

LIST_DEAD_LETTERS = text("SELECT * FROM list_dead_letters(:store_id, :after, :limit)")
RESEND_DEAD_LETTER = text("SELECT * FROM resend_dead_letter(:store_id, :message_id, :actor)")


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /dead-letters: which page."""

    after: Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class DeadLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message that was given up, without its content."""

    message_id: int
    channel: Literal["mail", "telegram", "webhook"]
    type: str | None
    """Which event or which mail."""
    hook_id: int | None
    url: str | None
    """Of a webhook's target."""
    attempts: int
    reply_code: int | None
    """What the other side said last, by HTTP or SMTP."""
    last_error: str | None
    created_at: str
    dead_at: str


class DeadLetters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of dead letters, newest first; `next` is the `after` of the next page, or null."""

    dead_letters: list[DeadLetter]
    next: int | None


class Resent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message that is tried again."""

    message_id: int
    hook_id: int | None


routes = Routes()


@routes.get(
    "/dead-letters",
    STAFF,
    scope="admin",
    query=ListQuery,
    answer=DeadLetters,
    codes=("ok", "unknown_store"),
)
async def list_dead_letters(request: web.Request, query: ListQuery) -> web.Response:
    """Messages that were given up, newest first: mails, webhooks and reports alike."""
    store = {"store_id": request[STORE_ID]}
    row = await read(request, LIST_DEAD_LETTERS, **store, **msgspec.structs.asdict(query))
    return responses.respond(row, **store)


@routes.post(
    "/dead-letters/{message_id}/resend",
    STAFF,
    scope="admin",
    answer=Resent,
    codes=("ok", "hook_off", "not_dead", "unknown_message", "unknown_store"),
)
async def resend_dead_letter(request: web.Request) -> web.Response:
    """Try a message again that was given up."""
    message_id = number_of(request, "message_id", "unknown_message")
    ids = {"store_id": request[STORE_ID], "message_id": message_id}
    row = await call(request, RESEND_DEAD_LETTER, **ids, actor=request[CALLER].name)
    return responses.respond(row, **ids)
