"""Users: register, follow a link, and what admins do about them."""

import base64
import hashlib
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.jobs import Job, done_by, found_by
from service.settings import Settings
from service.web import responses
from service.web.auth import AUTH, client_of, digest
from service.web.bodies import MAX_BIGINT, Done, Email, Login, Password, refuse_field
from service.web.context import CALLER, SETTINGS, STORE_ID, call, number_of, read
from service.web.routing import ADMINS, EVERYONE, STORE_API, Routes

CHECK_REGISTRATION = text("SELECT * FROM check_registration(:store_id, :login)")
REGISTER_CUSTOMER = text(
    "SELECT * FROM register_customer(:store_id, :login, :password_hash, :email, :token_hash,"
    " :lifetime, :address, :most_a_day, :actor)"
)
ACTIVATE_USER = text("SELECT * FROM activate_user(:store_id, :token_hash)")
MAKE_RESET_LINK = text(
    "SELECT * FROM make_reset_link(:store_id, :user_id, :token_hash, :lifetime, :actor)"
)
CHECK_RESET_LINK = text("SELECT * FROM check_reset_link(:store_id, :token_hash)")
RESET_PASSWORD = text("SELECT * FROM reset_password(:store_id, :token_hash, :new_hash)")
LIST_USERS = text("SELECT * FROM list_users(:store_id, :after, :limit)")
FIND_LAPSED_REGISTRATIONS = text("SELECT * FROM find_lapsed_registrations()")
SWEEP_REGISTRATIONS = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM sweep_registrations(:store_id, :limit)"
)
SET_USER_ACTIVE = text("SELECT * FROM set_user_active(:store_id, :user_id, :is_active, :actor)")

ACTIVATION = "/users/activation"
RESET = "/users/reset"
ACTIVATION_LIFETIME = timedelta(days=3)
RESET_LIFETIME = timedelta(days=1)
SWEEP_EVERY = 60.0
RESET_PAGE = Path(responses.__file__).with_name("pages").joinpath("reset.html").read_text("utf-8")

RESET_SCRIPT = base64.b64encode(
    hashlib.sha256(
        re.findall(r"<script>(.*?)</script>", RESET_PAGE, re.DOTALL)[0].encode()
    ).digest()
).decode()
PAGE_POLICY = (
    f"default-src 'none'; script-src 'sha256-{RESET_SCRIPT}'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
REGISTRATIONS_A_DAY = 10
"""Of each address, in minutes of HOLDFAST_PUBLIC_LIMIT: 600 where that is 60."""


class NewUser(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /users: register as `login`."""

    login: Login
    password: Password
    email: Email | None = None


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST to a reset link: its token, and the password from now on."""

    password: Password
    token: str | None = None


class UserChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT /users/{user_id}: whether the user may sign in."""

    is_active: bool


class LinkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an activation link brings; in the query, which no log holds."""

    token: str


class OldLinkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a reset link of the release before brings in its query."""

    token: str | None = None


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /users: which page."""

    after: Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Registered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new user, who can sign in once the link was followed."""

    user_id: int
    login: str
    activation_link: str


class ResetLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A link by which a user sets a new password, once."""

    user_id: int
    reset_link: str
    expires_at: str


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money of a user, in minor units."""

    account_id: int
    bill_id: str
    balance: int


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user as admins see one."""

    user_id: int
    login: str
    email: str | None
    role: str
    is_active: bool
    has_totp: bool
    """Whether signing in needs the code of an authenticator."""
    created_at: str
    accounts: list[Account]


class Users(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of users by id; `next` is the `after` of the page that follows, or null."""

    users: list[User]
    next: int | None


routes = Routes()


def jobs(settings: Settings) -> list[Job]:
    """Registrations that nobody activates lapse."""
    find, sweep = found_by(FIND_LAPSED_REGISTRATIONS), done_by(SWEEP_REGISTRATIONS)
    return [Job("sweeping of registrations", find, sweep, SWEEP_EVERY)]


@routes.post(
    "/users",
    EVERYONE,
    body=NewUser,
    answer=Registered,
    codes=(
        "ok",
        "created",
        "login_taken",
        "common_password",
        "too_many_requests",
        "unknown_store",
        "invalid_request",
        "overloaded",
    ),
    takes_key=False,
)
async def register(request: web.Request, user: NewUser) -> web.Response:
    """Register a customer, who signs in once the link in the answer was followed.

    A link that nobody follows within three days lapses, and the login is free again.
    """
    ids = {"store_id": request[STORE_ID], "login": user.login}
    results.check(await call(request, CHECK_REGISTRATION, **ids), **ids)
    token = secrets.token_urlsafe(32)
    row = await call(
        request,
        REGISTER_CUSTOMER,
        **ids,
        password_hash=await request.app[AUTH].passwords.hash_new(user.password, user.login),
        email=user.email,
        token_hash=digest(token),
        lifetime=ACTIVATION_LIFETIME,
        address=client_of(request)["address"],
        most_a_day=request.app[SETTINGS].public_limit * REGISTRATIONS_A_DAY,
        actor=request[CALLER].name,
    )
    results.check(row, **ids)
    document = msgspec.json.decode(row.document)
    document["activation_link"] = activation_link(request.app[SETTINGS], request[STORE_ID], token)
    return responses.json_response(document, 201, row.result_code)


@routes.get(
    ACTIVATION,
    EVERYONE,
    query=LinkQuery,
    answer=Done,
    codes=("ok", "already_activated", "unknown_link"),
)
async def activate(request: web.Request, query: LinkQuery) -> web.Response:
    """Let a new user sign in; the link is good once, and answers the same when followed again."""
    row = await call(
        request, ACTIVATE_USER, store_id=request[STORE_ID], token_hash=digest(query.token)
    )
    results.check(row)
    return responses.json_response({"status": "success", "message": "You can sign in."})


@routes.post(
    "/users/{user_id}/reset-link",
    ADMINS,
    scope="admin",
    answer=ResetLink,
    codes=("created", "unknown_user"),
    takes_key=False,
)
async def create_reset_link(request: web.Request) -> web.Response:
    """A link, good once and for a day, by which a user sets a new password."""
    token = secrets.token_urlsafe(32)
    ids = _ids(request)
    row = await call(
        request,
        MAKE_RESET_LINK,
        **ids,
        token_hash=digest(token),
        lifetime=RESET_LIFETIME,
        actor=request[CALLER].name,
    )
    results.check(row, **ids)
    document = msgspec.json.decode(row.document)
    document["reset_link"] = reset_link(request.app[SETTINGS], request[STORE_ID], token)
    return responses.json_response(document, 201, row.result_code)


@routes.get(RESET, EVERYONE, media="text/html")
async def reset_page(request: web.Request) -> web.Response:
    """The page of a reset link: a form that posts to it. Opening it does nothing."""
    headers = {"Content-Security-Policy": PAGE_POLICY}
    return web.Response(text=RESET_PAGE, content_type="text/html", headers=headers)


@routes.post(
    RESET,
    EVERYONE,
    query=OldLinkQuery,
    body=NewPassword,
    answer=Done,
    codes=("ok", "unknown_link", "common_password", "password_reused", "overloaded"),
    judges_origin=False,
    takes_key=False,
)
async def reset_password(
    request: web.Request, query: OldLinkQuery, given: NewPassword
) -> web.Response:
    """Set a new password by the token of a reset link, once; every session of the user ends."""
    token = given.token or query.token
    if token is None:
        raise refuse_field("token", "Field is required")
    link = {"store_id": request[STORE_ID], "token_hash": digest(token)}
    row = await read(request, CHECK_RESET_LINK, **link)
    results.check(row)
    known = msgspec.json.decode(row.document)
    new_hash = await request.app[AUTH].passwords.hash_new(
        given.password, known["login"], known_hash=known["known_hash"]
    )
    results.check(await call(request, RESET_PASSWORD, **link, new_hash=new_hash))
    return responses.json_response({"status": "success", "message": "The new password is set."})


@routes.get(
    "/users", ADMINS, scope="admin", query=ListQuery, answer=Users, codes=("ok", "unknown_store")
)
async def list_users(request: web.Request, query: ListQuery) -> web.Response:
    """The store's users by id: `after`, `limit`; `next` is the next `after`."""
    store = {"store_id": request[STORE_ID]}
    row = await read(request, LIST_USERS, **store, **msgspec.structs.asdict(query))
    return responses.respond(row, **store)


@routes.put(
    "/users/{user_id}",
    ADMINS,
    scope="admin",
    body=UserChange,
    answer=User,
    codes=("ok", "last_admin", "unknown_user"),
)
async def set_user_active(request: web.Request, change: UserChange) -> web.Response:
    """Let a user sign in, or no longer: the sessions of one who is disabled end at once.

    409 `last_admin` where nobody could let anybody in again.
    """
    ids = _ids(request)
    row = await call(
        request, SET_USER_ACTIVE, **ids, is_active=change.is_active, actor=request[CALLER].name
    )
    return responses.respond(row, **ids)


def activation_link(settings: Settings, store_id: str, token: str) -> str:
    """What a new user follows. A GET acts, so that the token is in the query."""
    return f"{_link_base(settings, store_id)}{ACTIVATION}?token={token}"


def reset_link(settings: Settings, store_id: str, token: str) -> str:
    """The page of a new password; the token is in the fragment, which browsers send nowhere."""
    return f"{_link_base(settings, store_id)}{RESET}#token={token}"


def _link_base(settings: Settings, store_id: str) -> str:
    """Links name their store, so that they are good whatever the default store becomes."""
    return settings.link_base + STORE_API.replace("{store_id}", quote(store_id, safe=""))


def _ids(request: web.Request) -> dict[str, Any]:
    """The store and the user of a path; Refusal 404 for what can be no user's id."""
    user_id = number_of(request, "user_id", "unknown_user")
    return {"store_id": request[STORE_ID], "user_id": user_id}
