"""What handlers find on the application and on a request, and how they call a function."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from sqlalchemy import Row, TextClause

from service.database.pool import Database
from service.results import Refusal
from service.settings import Settings
from service.web.bodies import MAX_BIGINT
from service.web.routing import Caller, Handler, Route

SETTINGS = web.AppKey("SETTINGS", Settings)
DATABASE = web.AppKey("DATABASE", Database)
ROUTES = web.AppKey("ROUTES", dict[Handler, Route])
"""Each handler's declaration."""
CALLER = web.RequestKey("CALLER", Caller)
ROUTE = web.RequestKey("ROUTE", Route)
STORE_ID = web.RequestKey("STORE_ID", str)
"""The store that a request is about: of its path, else the default one."""


def ids_of(request: web.Request) -> dict[str, str]:
    """The ids of a request's path, its store first, whether the path names it or not."""
    return {"store_id": request[STORE_ID], **request.match_info}


def number_of(request: web.Request, name: str, code: str) -> int:
    """An id of the path that was made here; Refusal `code` (404) for what can be none."""
    written = request.match_info[name]
    if not (written.isascii() and written.isdecimal() and len(written) < len(str(MAX_BIGINT))):
        raise Refusal(code, **{name: written})
    return int(written)


@contextmanager
def doubted(request: web.Request, detail: str) -> Iterator[None]:
    """Say in an `outcome_unknown` what is true for a route whose requests have no id of their own.

    What shares a transaction with its Idempotency-Key may be repeated as the usual words say.
    """
    try:
        yield
    except Refusal as refusal:
        if refusal.code == "outcome_unknown" and not request.app[DATABASE].is_in_transaction:
            raise Refusal("outcome_unknown", detail) from refusal
        raise


async def call(request: web.Request, statement: TextClause, **parameters: Any) -> Row[Any]:
    """The one row of a function that writes. Raises Refusal."""
    return await request.app[DATABASE].call(statement, **parameters)


async def read(request: web.Request, statement: TextClause, **parameters: Any) -> Row[Any]:
    """The one row of a function that only reads. Raises Refusal."""
    return await request.app[DATABASE].read(statement, **parameters)
