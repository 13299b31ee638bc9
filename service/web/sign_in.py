"""Passwords that requests bring: compared, after their try was counted; and HTTP Basic.

Basic is for clients of the older services alone, by a route that declares it: their password comes
with each request, and no session is begun.
"""

import asyncio
import base64
from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import TextClause, text

from service import results
from service.results import Refusal
from service.web.auth import AUTH, client_of
from service.web.bodies import GivenPassword, Login
from service.web.context import STORE_ID, call
from service.web.routing import Caller

START_SIGN_IN = text("SELECT * FROM start_sign_in(:store_id, :login, :address)")
CHECK_PASSWORD = text(
    "SELECT * FROM check_password(:store_id, :login, :user_id, :known_hash, :is_right, :address,"
    " CAST(:totp_roles AS text[]))"
)
BASIC = "basic "

pause = asyncio.sleep  # by a name of its own, so that a test need not wait


class Started(msgspec.Struct, frozen=True):
    """What the password of one who signs in is compared with; without `user_id` there is none."""

    now: int
    delay_seconds: int
    user_id: int | None = None
    known_hash: str | None = None
    totp_secret: str | None = None


class Shown(msgspec.Struct, frozen=True):
    """The login and the password of an Authorization header."""

    login: Login
    password: GivenPassword


class Known(msgspec.Struct, frozen=True):
    """Whose password it is."""

    user_id: Annotated[int, msgspec.Meta(ge=1)]
    login: str
    role: str
    lacks_totp: bool


async def compare(
    request: web.Request, start: TextClause, at: dict[str, Any], password: str
) -> tuple[Started, bool]:
    """Whether the password of a try that was let in is right, after the time that a hash takes."""
    passwords = request.app[AUTH].passwords
    async with passwords.signing_in():
        row = await call(request, start, **at)
        results.check(row, store_id=request[STORE_ID])
        started = msgspec.json.decode(row.document, type=Started)
        if not started.delay_seconds:
            return started, await passwords.matches(started.known_hash, password)
    await pause(started.delay_seconds)  # without keeping a place from others
    return started, await passwords.matches(started.known_hash, password)


def is_basic(request: web.Request) -> bool:
    """Whether a request shows login and password."""
    return request.headers.get("Authorization", "").lower().startswith(BASIC)


async def identify_basic(request: web.Request) -> Caller:
    """Whose login and password a request shows; Refusal 401 or 429, as for signing in."""
    shown = _read(request.headers["Authorization"])
    client = client_of(request)
    at = {"store_id": request[STORE_ID], "login": shown.login, "address": client["address"]}
    started, is_right = await compare(request, START_SIGN_IN, at, shown.password)
    row = await call(
        request,
        CHECK_PASSWORD,
        **at,
        user_id=started.user_id,
        known_hash=started.known_hash,
        is_right=is_right,
        totp_roles=request.app[AUTH].totp_roles,
    )
    results.check(row)
    known = msgspec.json.decode(row.document, type=Known)
    return Caller(
        "customer" if known.lacks_totp else known.role,
        f"user:{known.user_id}",
        known.user_id,
        request[STORE_ID],
        login=known.login,
        lacks="totp_required" if known.lacks_totp else "",
    )


def _read(header: str) -> Shown:
    try:
        text = base64.b64decode(header[len(BASIC) :].strip(), validate=True).decode()
        login, _, password = text.partition(":")
        return msgspec.convert({"login": login, "password": password}, Shown)
    except ValueError:  # of base64, UTF-8 and msgspec alike
        raise Refusal("unauthorized") from None
