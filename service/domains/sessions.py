"""Sessions: sign in and out, tokens, one-time passwords of an authenticator (TOTP, RFC 6238)."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import pyotp
from aiohttp import web
from pyotp.exceptions import OTPVerificationError
from sqlalchemy import Row, text

from service import results
from service.jobs import Job, done_by, found_by
from service.results import Refusal
from service.settings import Settings
from service.web import responses
from service.web.auth import AUTH, SESSION_LIFETIME, Grant, client_of
from service.web.bodies import MAX_BIGINT, Done, GivenPassword, Login, Password
from service.web.context import CALLER, SETTINGS, STORE_ID, call, number_of, read
from service.web.passwords import refuse_reused
from service.web.routing import ADMINS, EVERYONE, USERS, Routes
from service.web.sign_in import START_SIGN_IN, compare

COMPLETE_SIGN_IN = text(
    "SELECT * FROM complete_sign_in(:store_id, :login, :user_id, :known_hash, :is_right,"
    " :has_otp, :otp_step, :address, :user_agent, :lifetime, :idle_limit)"
)
REFRESH_SESSION = text("SELECT * FROM refresh_session(:store_id, :session_id, :token_number)")
LIST_SESSIONS = text(
    "SELECT * FROM list_sessions(:store_id, :user_id, :session_id, :after, :limit)"
)
END_SESSION = text("SELECT * FROM end_session(:store_id, :user_id, :session_id, :address, :actor)")
SIGN_OUT_USER = text("SELECT * FROM sign_out_user(:store_id, :user_id, :address, :actor)")
FIND_CLOSED_SESSIONS = text("SELECT * FROM find_closed_sessions()")
SWEEP_SESSIONS = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM sweep_sessions(:store_id, :limit)"
)
START_PASSWORD_CHECK = text("SELECT * FROM start_password_check(:store_id, :user_id, :address)")
REPLACE_PASSWORD = text(
    "SELECT * FROM replace_password(:store_id, :user_id, :session_id, :known_hash, :is_right,"
    " :new_hash, :address, :user_agent, :lifetime, :idle_limit)"
)
CREATE_TOTP = text("SELECT * FROM create_totp(:store_id, :user_id, :session_id, :secret, :actor)")
READ_TOTP = text("SELECT * FROM read_totp(:store_id, :user_id)")
CONFIRM_TOTP = text(
    "SELECT * FROM confirm_totp(:store_id, :user_id, :session_id, :secret, :otp_step, :actor)"
)
REMOVE_TOTP = text("SELECT * FROM remove_totp(:store_id, :user_id, :session_id, :actor)")

SWEEP_EVERY = 600.0
STEPS_OFF = 1
"""How many steps of 30 s a phone's clock may be off, either way."""

Code = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{6}\Z")]


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /auth: sign in; `otp` is the code that the authenticator shows, if the user has one."""

    login: Login
    password: GivenPassword
    otp: Code | None = None


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /users/me/password: from the present one to another."""

    current_password: GivenPassword
    password: Password


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /users/me/totp/confirm: the code that the authenticator shows now."""

    code: Code


class SessionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /users/me/sessions: which page."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token, to be sent as `Authorization: Bearer …` for `expires_in` seconds."""

    access_token: str
    token_type: Literal["bearer"]
    expires_in: int


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a user is signed in; `is_current` is the session that asks."""

    session_id: int
    is_current: bool
    address: str
    user_agent: str
    has_totp: bool
    signed_in_at: str
    last_used_at: str
    expires_at: str
    """If it is not used before."""


class Sessions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of sessions, oldest first; `next` is the `after` of the page that follows, or null."""

    sessions: list[Session]
    next: int | None


class Totp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an authenticator is given: the secret in base32, alone and as the link of a QR code."""

    secret: str
    otpauth_url: str


routes = Routes()


def jobs(settings: Settings) -> list[Job]:
    """Sessions that are over are forgotten."""
    find, sweep = found_by(FIND_CLOSED_SESSIONS), done_by(SWEEP_SESSIONS)
    return [Job("sweeping of sessions", find, sweep, SWEEP_EVERY)]


@routes.post(
    "/auth",
    EVERYONE,
    body=Credentials,
    answer=Token,
    codes=(
        "ok",
        "wrong_credentials",
        "otp_required",
        "too_many_requests",
        "unknown_store",
        "overloaded",
    ),
    takes_key=False,
    is_unlimited=True,
)
async def sign_in(request: web.Request, given: Credentials) -> web.Response:
    """A token for a login and its password; 401, alike for wrong, unknown and inactive.

    Who has an authenticator gives its code, too; 401 `otp_required` asks for it.
    """
    return _answer_token(request, await begin_session(request, given))


async def begin_session(request: web.Request, given: Credentials) -> Row[Any]:
    """Sign a user in: what the database says, with the token that it grants."""
    client = client_of(request)
    at = {"store_id": request[STORE_ID], "login": given.login, "address": client["address"]}
    started, is_right = await compare(request, START_SIGN_IN, at, given.password)
    step = _find_step(started.totp_secret, given.otp, started.now)
    return await call(
        request,
        COMPLETE_SIGN_IN,
        **at,
        user_id=started.user_id,
        known_hash=started.known_hash,
        is_right=is_right,
        has_otp=given.otp is not None,
        otp_step=step,
        user_agent=client["user_agent"],
        **_session_limits(request),
    )


@routes.post("/auth/refresh", USERS, answer=Token, codes=("ok", "unauthorized"), takes_key=False)
async def refresh(request: web.Request) -> web.Response:
    """A new token for one that is still good, up to 30 days after the password was given.

    The old one is taken for 30 seconds more, so that a lost answer signs nobody out.
    """
    caller = request[CALLER]
    row = await call(
        request,
        REFRESH_SESSION,
        store_id=request[STORE_ID],
        session_id=caller.session_id,
        token_number=caller.token_number,
    )
    return _answer_token(request, row)


@routes.post("/auth/logout", USERS, answer=Done, codes=("ok", "unknown_user"))
async def sign_out(request: web.Request) -> web.Response:
    """Every session of the user ends, on whichever device."""
    return await _sign_out(request, request[CALLER].user_id)


@routes.post(
    "/users/me/password",
    USERS,
    body=PasswordChange,
    answer=Token,
    codes=(
        "ok",
        "wrong_credentials",
        "common_password",
        "password_reused",
        "too_many_requests",
        "unauthorized",
        "unknown_store",
        "overloaded",
    ),
    takes_key=False,
)
async def change_password(request: web.Request, change: PasswordChange) -> web.Response:
    """Another password for who tells the present one; every session but the new one ends."""
    caller, client = request[CALLER], client_of(request)
    if change.password == change.current_password:
        raise refuse_reused()
    own = {"store_id": request[STORE_ID], "user_id": caller.user_id}
    at = {**own, "address": client["address"]}
    started, is_right = await compare(request, START_PASSWORD_CHECK, at, change.current_password)
    known = {"known_hash": started.known_hash, "is_right": is_right}
    session = {"session_id": caller.session_id, **_session_limits(request)}
    replace = partial(call, request, REPLACE_PASSWORD, **own, **client, **known, **session)
    if not is_right:
        return _answer_token(request, await replace(new_hash=None))
    try:
        new_hash = await request.app[AUTH].passwords.hash_new(change.password, caller.login)
    except Refusal:  # of the new one: the present one was right, so that no try is counted
        await replace(new_hash=None)
        raise
    return _answer_token(request, await replace(new_hash=new_hash))


@routes.get("/users/me/sessions", USERS, query=SessionsQuery, answer=Sessions, codes=("ok",))
async def list_sessions(request: web.Request, query: SessionsQuery) -> web.Response:
    """Where the user is signed in, oldest first: `after`, `limit`; `next` is the next `after`."""
    caller = request[CALLER]
    row = await read(
        request,
        LIST_SESSIONS,
        store_id=request[STORE_ID],
        user_id=caller.user_id,
        session_id=caller.session_id,
        **msgspec.structs.asdict(query),
    )
    return responses.respond(row)


@routes.delete(
    "/users/me/sessions/{session_id}",
    USERS,
    answer=Done,
    codes=("ok", "already_ended", "unknown_session"),
)
async def end_session(request: web.Request) -> web.Response:
    """One session of the user ends, this or another."""
    session_id = number_of(request, "session_id", "unknown_session")
    caller = request[CALLER]
    row = await call(
        request,
        END_SESSION,
        store_id=request[STORE_ID],
        user_id=caller.user_id,
        session_id=session_id,
        address=client_of(request)["address"],
        actor=caller.name,
    )
    results.check(row, session_id=session_id)
    return _done("The session is over.")


@routes.delete(
    "/users/{user_id}/sessions",
    ADMINS,
    scope="admin",
    answer=Done,
    codes=("ok", "unknown_user"),
)
async def sign_out_user(request: web.Request) -> web.Response:
    """Every session of a user ends; the password stays."""
    return await _sign_out(request, number_of(request, "user_id", "unknown_user"))


@routes.post(
    "/users/me/totp",
    USERS,
    answer=Totp,
    codes=("created", "sign_in_again", "totp_active"),
    takes_key=False,
)
async def create_totp(request: web.Request) -> web.Response:
    """A secret for an authenticator, in use once a code was confirmed.

    403 `sign_in_again` where the password was given more than 15 minutes ago.
    """
    secret = pyotp.random_base32()
    row = await call(request, CREATE_TOTP, **_own_session(request), secret=secret)
    results.check(row)
    login = msgspec.json.decode(row.document)["login"]
    url = pyotp.TOTP(secret).provisioning_uri(
        name=login, issuer_name=f"Holdfast {request[STORE_ID]}"
    )
    return responses.json_response({"secret": secret, "otpauth_url": url}, 201, row.result_code)


@routes.post(
    "/users/me/totp/confirm",
    USERS,
    body=Confirmation,
    answer=Done,
    codes=("ok", "already_enrolled", "unknown_totp", "wrong_code"),
)
async def confirm_totp(request: web.Request, confirmation: Confirmation) -> web.Response:
    """From now on signing in needs a code; the user's other sessions end."""
    session = _own_session(request)
    row = await read(request, READ_TOTP, store_id=session["store_id"], user_id=session["user_id"])
    results.check(row)
    totp = msgspec.json.decode(row.document)
    step = _find_step(totp["secret"], confirmation.code, totp["now"])
    row = await call(request, CONFIRM_TOTP, **session, secret=totp["secret"], otp_step=step)
    results.check(row)
    return _done("Signing in needs a code from now on.")


@routes.delete(
    "/users/me/totp",
    USERS,
    answer=Done,
    codes=("ok", "sign_in_again", "unknown_totp", "unknown_user"),
)
async def remove_own_totp(request: web.Request) -> web.Response:
    """Signing in needs no code any more; 403 `sign_in_again` as for setting it up."""
    row = await call(request, REMOVE_TOTP, **_own_session(request))
    results.check(row)
    return _done("Signing in needs no code any more.")


@routes.delete(
    "/users/{user_id}/totp",
    ADMINS,
    scope="admin",
    answer=Done,
    codes=("ok", "sign_in_again", "unknown_totp", "unknown_user"),
)
async def remove_totp(request: web.Request) -> web.Response:
    """Help a user who has lost the authenticator: the password alone lets in again."""
    user_id = number_of(request, "user_id", "unknown_user")
    row = await call(
        request,
        REMOVE_TOTP,
        store_id=request[STORE_ID],
        user_id=user_id,
        session_id=None,
        actor=request[CALLER].name,
    )
    results.check(row, user_id=user_id)
    return _done("Signing in needs no code any more.")


def _find_step(secret: str | None, code: str | None, now: int) -> int | None:
    """For which 30 seconds since 1970 an authenticator shows this code; None: for none near now."""
    if secret is None or code is None:
        return None
    try:
        return pyotp.TOTP(secret).verify_and_get_timecode(
            code, for_time=now, valid_window=STEPS_OFF
        )
    except OTPVerificationError:
        return None


def _session_limits(request: web.Request) -> dict[str, timedelta]:
    """How long a session that begins now may live, and how long without being used."""
    idle = request.app[SETTINGS].session_idle_seconds
    return {"lifetime": SESSION_LIFETIME, "idle_limit": timedelta(seconds=idle)}


def _answer_token(request: web.Request, row: Row[Any]) -> web.Response:
    """The token that the database has granted, or the refusal."""
    results.check(row)
    grant = msgspec.json.decode(row.document, type=Grant)
    return responses.json_response(request.app[AUTH].tokens.answer(request[STORE_ID], grant))


async def _sign_out(request: web.Request, user_id: int | None) -> web.Response:
    row = await call(
        request,
        SIGN_OUT_USER,
        store_id=request[STORE_ID],
        user_id=user_id,
        address=client_of(request)["address"],
        actor=request[CALLER].name,
    )
    results.check(row, user_id=user_id)
    return _done("Every session is over.")


def _own_session(request: web.Request) -> dict[str, Any]:
    """Who asks, from which session."""
    caller = request[CALLER]
    return {
        "store_id": request[STORE_ID],
        "user_id": caller.user_id,
        "session_id": caller.session_id,
        "actor": caller.name,
    }


def _done(message: str) -> web.Response:
    return responses.json_response({"status": "success", "message": message})
