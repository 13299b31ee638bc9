"""Commands about users and keys: what an operator does with the owner's rights.

Each takes the owner's URL and answers the exit code: 0 done, 2 refused, with the reason printed.
"""

import asyncio
import getpass
import secrets
import sys
from typing import Any

import msgspec

from service import results
from service.auth import HASHER, digest, new_key
from service.bodies import MAX_BIGINT
from service.database import connect
from service.migrate import OWNER
from service.users import NewUser

FIRST_ADMIN = "admin"

CREATE_USER = "SELECT * FROM create_user($1, $2, $3, $4, true, NULL)"
CREATE_FIRST_ADMIN = "SELECT * FROM create_first_admin($1, $2, $3)"
CREATE_API_KEY = "SELECT * FROM create_api_key($1, $2, $3, NULL)"
REVOKE_API_KEY = "SELECT * FROM revoke_api_key($1, $2, NULL)"
LIST_API_KEYS = "SELECT * FROM api_key_list WHERE store_id = $1 ORDER BY key_id"

REFUSED = 2


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
    row = await _call(dsn, CREATE_USER, store_id, login, password_hash, role)
    if row["result_code"] != "ok":
        return _refuse(row, store_id=store_id, login=login)
    print(f"User {row['new_user_id']}, {login}, is {role} of {store_id}.")
    if not given:
        print(f"Password, not shown again: {password}")
    return 0


async def create_first_admin(dsn: str, store_id: str, password: str) -> Any:
    """What create_first_admin() answers."""
    password_hash = await asyncio.to_thread(HASHER.hash, password)
    return await _call(dsn, CREATE_FIRST_ADMIN, store_id, FIRST_ADMIN, password_hash)


async def create_key(dsn: str, store_id: str, name: str) -> int:
    """Create a key of a store and print it, once."""
    key = new_key(store_id)
    row = await _call(dsn, CREATE_API_KEY, store_id, name, digest(key))
    if row["result_code"] != "ok":
        return _refuse(row, store_id=store_id)
    print(f"Key {row['new_key_id']} of {store_id}, not shown again: {key}")
    return 0


async def list_keys(dsn: str, store_id: str) -> int:
    """Print the keys of a store, revoked ones too."""
    connection = await connect(dsn, OWNER)
    try:
        rows = await connection.fetch(LIST_API_KEYS, store_id)
    finally:
        await connection.close()
    for row in rows:
        used = f"last used {row['last_used_at']:%F %R}" if row["last_used_at"] else "never used"
        state = f"revoked {row['revoked_at']:%F %R}" if row["revoked_at"] else "good"
        print(f"{row['key_id']}  {row['name']}  made {row['created_at']:%F %R}  {used}  {state}")
    print(f"{len(rows)} keys of {store_id}. Times are in UTC.")
    return 0


async def revoke_key(dsn: str, store_id: str, key_id: int) -> int:
    """Revoke a key: no process takes it two seconds later."""
    row = await _call(dsn, REVOKE_API_KEY, store_id, min(key_id, MAX_BIGINT))
    if results.is_error(row["result_code"]):
        return _refuse(row, store_id=store_id, key_id=key_id)
    print(f"Key {key_id} of {store_id} opens nothing any more.")
    return 0


async def _call(dsn: str, statement: str, *parameters: Any) -> Any:
    connection = await connect(dsn, OWNER)
    try:
        return await connection.fetchrow(statement, *parameters)
    finally:
        await connection.close()


def _refuse(row: Any, **ids: Any) -> int:
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
