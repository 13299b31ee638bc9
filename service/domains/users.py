"""Users: register, sign in, and what admins do about them."""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.results import Refusal
from service.web import responses
from service.web.auth import AUTH, Auth, bearer_of, digest
from service.web.bodies import MAX_BIGINT
from service.web.context import CALLER, DATABASE, SETTINGS, STORE_ID
from service.web.routing import ADMINS, EVERYONE, STORE_API, USERS, Routes

REGISTER_USER = text(
    "SELECT * FROM register_user(:store_id, :login, :password_hash, :token_hash, :lifetime, :actor)"
)
ACTIVATE_USER = text("SELECT * FROM activate_user(:store_id, :token_hash)")
BEGIN_SIGN_IN = text("SELECT * FROM begin_sign_in(:store_id, :login, :address)")
FINISH_SIGN_IN = text(
    "SELECT * FROM finish_sign_in(:store_id, :user_id, :address, :known_hash, :is_right)"
)
END_SESSIONS = text("SELECT * FROM end_sessions(:store_id, :user_id, :actor)")
BEGIN_PASSWORD_CHECK = text("SELECT * FROM begin_password_check(:store_id, :user_id, :address)")
CHANGE_PASSWORD = text(
    "SELECT * FROM change_password(:store_id, :user_id, :address, :known_hash, :is_right,"
    " :new_hash, :actor)"
)
CREATE_RESET_LINK = text(
    "SELECT * FROM create_reset_link(:store_id, :user_id, :token_hash, :lifetime, :actor)"
)
RESET_PASSWORD = text("SELECT * FROM reset_password(:store_id, :token_hash, :new_hash)")
LIST_USERS = text("SELECT * FROM list_users(:store_id, :after, :limit)")
SET_USER_ACTIVE = text("SELECT * FROM set_user_active(:store_id, :user_id, :is_active, :actor)")

ACTIVATION = "/users/activation"
RESET = "/users/reset"
ACTIVATION_LIFETIME = timedelta(days=3)
RESET_LIFETIME = timedelta(days=1)
RESET_PAGE = Path(responses.__file__).with_name("pages").joinpath("reset.html").read_text("utf-8")

# Answers that hold a secret, or what was done by one, are nobody else's to keep.
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
PAGE_POLICY = "default-src 'none'; script-src 'unsafe-inline'; connect-src 'self'"

Login = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,64}\Z")]
Password = Annotated[str, msgspec.Meta(min_length=8, max_length=128)]
GivenPassword = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /users: register as `login`."""

    login: Login
    password: Password


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /auth: sign in."""

    login: Login
    password: GivenPassword


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /users/me/password: from the present one to another."""

    current_password: GivenPassword
    password: Password


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST to a reset link: the password from now on."""

    password: Password


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT /users/{user_id}: whether the user may sign in."""

    is_active: bool


class LinkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a link brings; in the query, which no log holds."""

    token: str


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /users: which page."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


routes = Routes()


@routes.post("/users", EVERYONE, body=NewUser, takes_key=False)
async def register(request: web.Request, user: NewUser) -> web.Response:
    """Register a customer, who signs in once the link in the answer was followed."""
    token = secrets.token_urlsafe(32)
    row = await request.app[DATABASE].call(
        REGISTER_USER,
        store_id=request[STORE_ID],
        login=user.login,
        password_hash=await request.app[AUTH].passwords.hash(user.password),
        token_hash=digest(token),
        lifetime=ACTIVATION_LIFETIME,
        actor=request[CALLER].name,
    )
    results.check(row, store_id=request[STORE_ID], login=user.login)
    link = _link(request, ACTIVATION, token)
    return _private(
        {"user_id": row.new_user_id, "login": user.login, "activation_link": link}, status=201
    )


@routes.get(ACTIVATION, EVERYONE, query=LinkQuery)
async def activate(request: web.Request, query: LinkQuery) -> web.Response:
    """Let a new user sign in; the link is good once, and answers the same when followed again."""
    row = await request.app[DATABASE].call(
        ACTIVATE_USER, store_id=request[STORE_ID], token_hash=digest(query.token)
    )
    results.check(row)
    return _private({"status": "success", "message": "You can sign in."})


@routes.post("/auth", EVERYONE, body=Credentials, takes_key=False)
async def sign_in(request: web.Request, given: Credentials) -> web.Response:
    """A token for a login and its password; 401, alike for wrong, unknown and inactive."""
    at = {"store_id": request[STORE_ID], "address": _auth(request).client_address(request)}
    database = request.app[DATABASE]
    begun = await database.call(BEGIN_SIGN_IN, **at, login=given.login)
    known = await _compare(request, begun, given.password)
    row = await database.call(FINISH_SIGN_IN, **at, **known)
    return _token(request, begun.known_user_id, row)


@routes.post("/auth/refresh", USERS, takes_key=False)
async def refresh(request: web.Request) -> web.Response:
    """A new token for one that is still good, up to 30 days after the password was given."""
    auth = _auth(request)
    caller, claims, now = await auth.check_token(bearer_of(request) or "")
    assert caller.user_id
    second = int(now.timestamp())
    return _private(
        auth.tokens.grant(
            claims.store, caller.user_id, caller.role, claims.gen, second, claims.auth_time
        )
    )


@routes.post("/auth/logout", USERS, takes_key=False)
async def sign_out(request: web.Request) -> web.Response:
    """No token that the user has by now is taken any more."""
    caller = request[CALLER]
    row = await request.app[DATABASE].call(
        END_SESSIONS, store_id=request[STORE_ID], user_id=caller.user_id, actor=caller.name
    )
    results.check(row, user_id=caller.user_id)
    return _private({"status": "success", "message": "You are signed out everywhere."})


@routes.post("/users/me/password", USERS, body=PasswordChange, takes_key=False)
async def change_password(request: web.Request, change: PasswordChange) -> web.Response:
    """Another password for who tells the present one; every token but the new one stops."""
    caller, database = request[CALLER], request.app[DATABASE]
    at = {"store_id": request[STORE_ID], "address": _auth(request).client_address(request)}
    begun = await database.call(BEGIN_PASSWORD_CHECK, **at, user_id=caller.user_id)
    known = await _compare(request, begun, change.current_password)
    row = await database.call(
        CHANGE_PASSWORD,
        **at,
        **known,
        new_hash=await _auth(request).passwords.hash(change.password),
        actor=caller.name,
    )
    return _token(request, begun.known_user_id, row)


@routes.post("/users/{user_id}/reset-link", ADMINS, scope="admin", takes_key=False)
async def create_reset_link(request: web.Request) -> web.Response:
    """A link, good once and for a day, by which a user sets a new password."""
    token = secrets.token_urlsafe(32)
    ids = _ids(request)
    row = await request.app[DATABASE].call(
        CREATE_RESET_LINK,
        **ids,
        token_hash=digest(token),
        lifetime=RESET_LIFETIME,
        actor=request[CALLER].name,
    )
    results.check(row, **ids)
    return _private(
        {
            "user_id": ids["user_id"],
            "reset_link": _link(request, RESET, token),
            "expires_at": row.valid_until,
        },
        status=201,
    )


@routes.get(RESET, EVERYONE)
async def reset_page(request: web.Request) -> web.Response:
    """The page of a reset link: a form that posts to it. Opening it does nothing."""
    headers = PRIVATE | {"Content-Security-Policy": PAGE_POLICY}
    return web.Response(text=RESET_PAGE, content_type="text/html", headers=headers)


@routes.post(RESET, EVERYONE, query=LinkQuery, body=NewPassword, takes_key=False)
async def reset_password(
    request: web.Request, query: LinkQuery, given: NewPassword
) -> web.Response:
    """Set a new password by a reset link, once; every token of the user stops."""
    row = await request.app[DATABASE].call(
        RESET_PASSWORD,
        store_id=request[STORE_ID],
        token_hash=digest(query.token),
        new_hash=await _auth(request).passwords.hash(given.password),
    )
    results.check(row)
    return _private({"status": "success", "message": "The new password is set."})


@routes.get("/users", ADMINS, scope="admin", query=ListQuery)
async def list_users(request: web.Request, query: ListQuery) -> web.Response:
    """The store's users by id: `after`, `limit`; `next` is the next `after`."""
    row = await request.app[DATABASE].read(
        LIST_USERS, store_id=request[STORE_ID], **msgspec.structs.asdict(query)
    )
    results.check(row, store_id=request[STORE_ID])
    return responses.json_response(row.document)


@routes.put("/users/{user_id}", ADMINS, scope="admin", body=UserChange)
async def set_user_active(request: web.Request, change: UserChange) -> web.Response:
    """Let a user sign in, or no longer: the tokens of one who is disabled stop at once."""
    ids = _ids(request)
    row = await request.app[DATABASE].call(
        SET_USER_ACTIVE, **ids, is_active=change.is_active, actor=request[CALLER].name
    )
    results.check(row, **ids)
    return responses.json_response(row.document)


def _auth(request: web.Request) -> Auth:
    return request.app[AUTH]


async def _compare(request: web.Request, begun: Any, password: str) -> dict[str, Any]:
    """What a sign-in that was let in is finished with: always after the time that a hash takes."""
    wait = {"retry_after": begun.retry_after} if begun.retry_after else {}
    results.check(begun, store_id=request[STORE_ID], **wait)
    return {
        "user_id": begun.known_user_id,
        "known_hash": begun.known_hash,
        "is_right": await _auth(request).passwords.matches(begun.known_hash, password),
    }


def _token(request: web.Request, user_id: int, row: Any) -> web.Response:
    """The answer to a password: a token of a session that begins now, or 401."""
    results.check(row)
    now = int(row.signed_in_at.timestamp())
    return _private(
        _auth(request).tokens.grant(
            request[STORE_ID], user_id, row.user_role, row.generation, now, auth_time=now
        )
    )


def _private(content: dict[str, Any], status: int = 200) -> web.Response:
    response = responses.json_response(content, status)
    response.headers.update(PRIVATE)
    return response


def _link(request: web.Request, path: str, token: str) -> str:
    """A link that names its store, so that it is good whatever the default store becomes."""
    base = STORE_API.replace("{store_id}", quote(request[STORE_ID], safe=""))
    return f"{request.app[SETTINGS].link_base}{base}{path}?token={token}"


def _ids(request: web.Request) -> dict[str, Any]:
    """The store and the user of a path; Refusal 404 for what can be no user's id."""
    written = request.match_info["user_id"]
    if not (written.isascii() and written.isdecimal() and len(written) < len(str(MAX_BIGINT))):
        raise Refusal("unknown_user", user_id=written)
    return {"store_id": request[STORE_ID], "user_id": int(written)}
