"""user: create users, such as the first admin."""

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
from service.database.migrate import OWNER
from service.database.urls import owner_url
from service.domains.users import NewUser
from service.settings import Settings
from service.web.auth import HASHER

FIRST_ADMIN = "admin"

CREATE_USER = "SELECT * FROM create_user($1, $2, $3, $4, true, NULL)"
CREATE_FIRST_ADMIN = "SELECT * FROM create_first_admin($1, $2, $3)"

REFUSED = 2


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("user", help="create users, such as the first admin")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    create = verbs.add_parser(
        "create",
        help="create a user who can sign in at once",
        description="The password is asked for, or read from standard input; where none is given, "
        "one is made and printed.",
    )
    create.add_argument("login", metavar="LOGIN")
    create.add_argument("--role", choices=["customer", "staff", "admin"], default="customer")
    create.add_argument("--store", help="default: HOLDFAST_STORE")
    create.set_defaults(run=run_create)


async def run_create(settings: Settings, arguments: argparse.Namespace) -> int:
    """Somebody who can sign in."""
    async with owner_url(settings) as dsn:
        store_id = arguments.store or settings.store
        return await create_user(dsn, store_id, arguments.login, arguments.role)


async def create_user(dsn: str, store_id: str, login: str, role: str) -> int:
    """Create a user who can sign in at once; a password that nobody gives is made and printed."""
    given = await asyncio.to_thread(_ask_password)
    password = given or secrets.token_urlsafe(12)
    try:
        msgspec.convert({"login": login, "password": password}, NewUser)
    except msgspec.ValidationError as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return REFUSED
    password_hash = await asyncio.to_thread(HASHER.hash, password)
    row = await call_as_owner(dsn, CREATE_USER, store_id, login, password_hash, role)
    if row["result_code"] != "ok":
        return refuse(row, store_id=store_id, login=login)
    print(f"User {row['new_user_id']}, {login}, is {role} of {store_id}.")
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


def _ask_password() -> str:
    """The password typed twice, or the first line of what is piped in; empty: none is given."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("Password (empty: one is made): ")
    if password and getpass.getpass("Again: ") != password:
        raise SystemExit("holdfast: The two differ.")
    return password
