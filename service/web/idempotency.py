"""Idempotency-Key: a request that has no id of its own happens once, and is answered alike.

The key, what the request did and its answer are committed together
(draft-ietf-httpapi-idempotency-key-header). A repeat gets the first answer to the letter; a refusal
leaves no trace, so that the same key may be tried again. A key is its caller's and its route's.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from sqlalchemy import text

from service.jobs import Job, done_by, found_by
from service.settings import Settings
from service.web import responses
from service.web.auth import caller_of
from service.web.bodies import read_bytes, refuse_field
from service.web.context import CALLER, DATABASE, STORE_ID
from service.web.routing import ANONYMOUS, Route

TAKE_IDEMPOTENCY_KEY = text(
    "SELECT * FROM take_idempotency_key(:store_id, :caller, :route, :key, :fingerprint)"
)
KEEP_IDEMPOTENT_ANSWER = text(
    "SELECT * FROM keep_idempotent_answer("
    ":store_id, :caller, :route, :key, :fingerprint, :status, :body)"
)
FIND_OLD_ANSWERS = text("SELECT * FROM find_old_answers()")
FORGET_ANSWERS = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM forget_answers(:store_id, :limit)"
)
KEY_HEADER = "Idempotency-Key"
FORGET_EVERY = 60.0
_key = re.compile(r"[ -~]{1,255}")


def jobs(settings: Settings) -> list[Job]:
    """Answers are forgotten once they were kept for long enough."""
    find, forget = found_by(FIND_OLD_ANSWERS), done_by(FORGET_ANSWERS)
    return [Job("forgetting of answers", find, forget, FORGET_EVERY)]


async def answer_once(
    request: web.Request, route: Route, arguments: Sequence[Any]
) -> web.StreamResponse:
    """Let the handler answer in one transaction with the key; or repeat what it answered before."""
    database = request.app[DATABASE]
    keys = request.headers.getall(KEY_HEADER)
    if len(keys) > 1 or not _key.fullmatch(keys[0]):
        raise refuse_field(KEY_HEADER, "Expected one of 1-255 printable ASCII characters", "header")
    content = b"%s\n%s" % (request.raw_path.encode(), await read_bytes(request))
    identity = {
        "store_id": request[STORE_ID],
        "caller": await _name_caller(request, route, arguments),
        "route": f"{route.method} {route.path}",
        "key": keys[0],
        "fingerprint": hashlib.sha256(content).hexdigest(),
    }

    async def work() -> tuple[web.StreamResponse, bool]:
        kept = await database.call(TAKE_IDEMPOTENCY_KEY, **identity)
        if kept.result_code == "replayed":
            return responses.json_response(kept.answer_body, kept.answer_status, "replayed"), False
        if kept.result_code != "ok":
            return responses.respond_code(kept.result_code), False
        response = await route.handler(request, *arguments)
        if response.status >= 400:
            return response, False
        assert isinstance(response, web.Response)
        assert isinstance(response.body, bytes)
        answer = {"status": response.status, "body": response.body.decode()}
        await database.call(KEEP_IDEMPOTENT_ANSWER, **identity, **answer)
        return response, True

    return await database.in_transaction(work)


async def _name_caller(request: web.Request, route: Route, arguments: Sequence[Any]) -> str:
    """Whose key it is; who may call without credentials is named by those that are there.

    A stranger is named by what the request itself is known by, so that nobody meets another's keys.
    """
    if route.known_by is None:
        return request[CALLER].name
    caller = await caller_of(request)
    if caller != ANONYMOUS:
        return caller.name
    known_by = hashlib.sha256(route.known_by(*arguments).encode())
    return f"{caller.name}:{known_by.hexdigest()}"
