"""user: create, list, enable and disable users, and help those who cannot sign in."""

import argparse
import asyncio
import getpass
import secrets
import sys
from typing import Any

import msgspec

from service import results
from service.commands import Commands
from service.database.connections import connected
from service.database.roles import OWNER
from service.database.urls import owner_url
from service.domains.users import RESET_LIFETIME, NewUser, reset_link
from service.settings import Settings
from service.web.auth import digest
from service.web.bodies import parse_custom
from service.web.passwords import HASHER, is_common

FIRST_ADMIN = "admin"

CREATE_USER = "SELECT * FROM create_user($1, $2, $3, $4, true, $5, NULL)"
CREATE_FIRST_ADMIN = "SELECT * FROM create_first_admin($1, $2, $3)"
LIST_USERS = (
    "SELECT u.*, t.user_id IS NOT NULL AS has_totp, s.last_used_at FROM user_list AS u"
    " LEFT JOIN user_totp AS t"
    " ON t.store_id = u.store_id AND t.user_id = u.user_id AND t.confirmed_at IS NOT NULL"
    " LEFT JOIN (SELECT store_id, user_id, max(used_at) AS last_used_at FROM sessions"
    " GROUP BY store_id, user_id) AS s ON s.store_id = u.store_id AND s.user_id = u.user_id"
    " WHERE u.store_id = $1 ORDER BY u.user_id"
)
FIND_USER = "SELECT user_id FROM users WHERE store_id = $1 AND lower(login) = lower($2)"
SET_USER_ACTIVE = "SELECT * FROM set_user_active($1, $2, $3, NULL)"
MAKE_RESET_LINK = "SELECT * FROM make_reset_link($1, $2, $3, $4, NULL)"
SIGN_OUT_USER = "SELECT * FROM sign_out_user($1, $2, 'command line', NULL)"
REMOVE_TOTP = "SELECT * FROM remove_totp($1, $2, NULL, NULL)"

REFUSED = 2


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("user", help="create and list users, let them in and out")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    create = verbs.add_parser(
        "create",
        help="create a user who can sign in at once",
        description="The password is asked for, or read from standard input; where none is given, "
        "one is made and printed.",
    )
    create.add_argument("login", metavar="LOGIN")
    create.add_argument("--role", choices=["customer", "staff", "admin"], default="customer")
    create.add_argument("--email", help="where the user is written to")
    create.set_defaults(run=run_create)
    listing = verbs.add_parser("list", help="who there is, and when they were here last")
    listing.set_defaults(run=run_list)
    for name, run, says in (
        ("enable", run_enable, "let a user sign in (again)"),
        ("disable", run_disable, "let a user sign in no longer; every session ends at once"),
        ("sign-out", run_sign_out, "end every session of a user"),
        ("reset-link", run_reset_link, "print a link by which a user sets a new password, once"),
        ("reset-totp", run_reset_totp, "let a user who lost the authenticator in without codes"),
    ):
        verb = verbs.add_parser(name, help=says)
        verb.add_argument("login", metavar="LOGIN")
        verb.set_defaults(run=run)
    for verb in verbs.choices.values():
        verb.add_argument("--store", help="default: HOLDFAST_STORE")


async def run_create(settings: Settings, arguments: argparse.Namespace) -> int:
    """Somebody who can sign in."""
    async with owner_url(settings) as dsn:
        store_id = arguments.store or settings.store
        return await create_user(dsn, store_id, arguments.login, arguments.role, arguments.email)


async def run_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """One line for each user of a store."""
    store_id = arguments.store or settings.store
    async with owner_url(settings) as dsn, connected(dsn, OWNER) as connection:
        rows = await connection.fetch(LIST_USERS, store_id)
    for row in rows:
        state = "active" if row["is_active"] else "not active"
        used = f"last here {row['last_used_at']:%F %R}" if row["last_used_at"] else "no session"
        code = "  signs in with a code" if row["has_totp"] else ""
        print(f"{row['user_id']}  {row['login']}  {row['role']}  {state}  {used}{code}")
    print(f"{len(rows)} users of {store_id}. Times are in UTC.")
    return 0


async def run_enable(settings: Settings, arguments: argparse.Namespace) -> int:
    """With the password as it was."""
    return await _set_active(settings, arguments, True)


async def run_disable(settings: Settings, arguments: argparse.Namespace) -> int:
    """At once."""
    return await _set_active(settings, arguments, False)


async def run_sign_out(settings: Settings, arguments: argparse.Namespace) -> int:
    """The password stays."""
    row = await _call_for_user(settings, arguments, SIGN_OUT_USER)
    if row["result_code"] == "ok":
        print(f"Every session of {arguments.login} is over.")
    return _status(row, arguments)


async def run_reset_link(settings: Settings, arguments: argparse.Namespace) -> int:
    """Good for a day; the link before it is void."""
    token = secrets.token_urlsafe(32)
    row = await _call_for_user(settings, arguments, MAKE_RESET_LINK, digest(token), RESET_LIFETIME)
    if row["result_code"] == "created":
        link = reset_link(settings, arguments.store or settings.store, token)
        print(f"Good once, for a day, not shown again: {link}")
    return _status(row, arguments)


async def run_reset_totp(settings: Settings, arguments: argparse.Namespace) -> int:
    """The password alone lets in again."""
    row = await _call_for_user(settings, arguments, REMOVE_TOTP)
    if row["result_code"] == "ok":
        print(f"{arguments.login} signs in by the password alone.")
    return _status(row, arguments)


async def create_user(
    dsn: str, store_id: str, login: str, role: str, email: str | None = None
) -> int:
    """Create a user who can sign in at once; a password that nobody gives is made and printed."""
    given = await asyncio.to_thread(_ask_password)
    password = given or secrets.token_urlsafe(12)
    try:
        given_user = {"login": login, "password": password, "email": email}
        msgspec.convert(given_user, NewUser, dec_hook=parse_custom)
    except msgspec.ValidationError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return REFUSED
    if await asyncio.to_thread(is_common, password, login):
        return refuse({"result_code": "common_password"})
    password_hash = await asyncio.to_thread(HASHER.hash, password)
    row = await call_as_owner(dsn, CREATE_USER, store_id, login, password_hash, role, email)
    if results.is_error(row["result_code"]):
        return refuse(row, store_id=store_id, login=login)
    user_id = msgspec.json.decode(row["document"])["user_id"]
    print(f"User {user_id}, {login}, is {role} of {store_id}.")
    if not given:
        print(f"Password, not shown again: {password}")
    return 0


async def create_first_admin(dsn: str, store_id: str, password: str) -> Any:
    """What create_first_admin() answers."""
    password_hash = await asyncio.to_thread(HASHER.hash, password)
    return await call_as_owner(dsn, CREATE_FIRST_ADMIN, store_id, FIRST_ADMIN, password_hash)


async def call_as_owner(dsn: str, statement: str, *parameters: Any) -> Any:
    """The one row of a function, called with the owner's rights."""
    async with connected(dsn, OWNER) as connection:
        return await connection.fetchrow(statement, *parameters)


def refuse(row: Any, **ids: Any) -> int:
    """Print why a function refused; the exit code for it."""
    body = results.error_body(row["result_code"], **ids)
    print(f"holdfast: {body['message']} {body['detail']}", file=sys.stderr)
    return REFUSED


async def _set_active(settings: Settings, arguments: argparse.Namespace, is_active: bool) -> int:
    row = await _call_for_user(settings, arguments, SET_USER_ACTIVE, is_active)
    if row["result_code"] == "ok":
        print(f"{arguments.login} may {'' if is_active else 'no longer '}sign in.")
    return _status(row, arguments)


async def _call_for_user(
    settings: Settings, arguments: argparse.Namespace, statement: str, *parameters: Any
) -> Any:
    """What a function answers for the store and the user that the arguments name."""
    store_id = arguments.store or settings.store
    async with owner_url(settings) as dsn, connected(dsn, OWNER) as connection:
        user_id = await connection.fetchval(FIND_USER, store_id, arguments.login)
        if user_id is None:
            return {"result_code": "unknown_user"}
        return await connection.fetchrow(statement, store_id, user_id, *parameters)


def _status(row: Any, arguments: argparse.Namespace) -> int:
    if results.is_error(row["result_code"]):
        return refuse(row, user_id=arguments.login)
    return 0


def _ask_password() -> str:
    """The password typed twice, or the first line of what is piped in; empty: none is given."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password (empty: one is made): ")
    if password and getpass.getpass("Again: ") != password:
        raise SystemExit("holdfast: The two differ.")
    return password
