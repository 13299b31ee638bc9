"""key: make, list and revoke the keys of other systems."""

import argparse
from datetime import UTC, date, datetime, time
from typing import get_args

import msgspec

from service import results
from service.commands import Commands
from service.commands.user import call_as_owner, refuse
from service.database.connections import connected
from service.database.roles import OWNER
from service.database.urls import owner_url
from service.domains.keys import KeyScope
from service.settings import Settings
from service.web.auth import digest, new_key
from service.web.bodies import MAX_BIGINT, Timestamp

CREATE_API_KEY = "SELECT * FROM create_api_key($1, $2, $3, $4, $5, NULL)"
REVOKE_API_KEY = "SELECT * FROM revoke_api_key($1, $2, NULL)"
LIST_API_KEYS = "SELECT * FROM api_key_list WHERE store_id = $1 ORDER BY key_id"


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("key", help="make, list and revoke the keys of other systems")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    make = verbs.add_parser("create", help="make a key and print it, once")
    make.add_argument("name", metavar="NAME", help="what it is for")
    make.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        choices=get_args(KeyScope),
        help="what it may do, each named once; default: all but admin",
    )
    make.add_argument(
        "--expires",
        type=_moment,
        metavar="TIME",
        help="when it ends, as 2027-01-31 (the end of that day, UTC) or 2027-01-31T12:00:00Z",
    )
    make.set_defaults(run=run_create)
    show = verbs.add_parser("list", help="which keys there are, and when they were used")
    show.set_defaults(run=run_list)
    revoke = verbs.add_parser("revoke", help="a key opens nothing any more")
    revoke.add_argument("key_id", metavar="KEY_ID", type=int)
    revoke.set_defaults(run=run_revoke)
    for verb in (make, show, revoke):
        verb.add_argument("--store", help="default: HOLDFAST_STORE")


async def run_create(settings: Settings, arguments: argparse.Namespace) -> int:
    """Shown once."""
    async with owner_url(settings) as dsn:
        return await create_key(
            dsn,
            arguments.store or settings.store,
            arguments.name,
            arguments.scopes,
            arguments.expires,
        )


async def run_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """All of a store."""
    async with owner_url(settings) as dsn:
        return await list_keys(dsn, arguments.store or settings.store)


async def run_revoke(settings: Settings, arguments: argparse.Namespace) -> int:
    """For good."""
    async with owner_url(settings) as dsn:
        return await revoke_key(dsn, arguments.store or settings.store, arguments.key_id)


async def create_key(
    dsn: str,
    store_id: str,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime | None = None,
) -> int:
    """Create a key of a store and print it, once."""
    key = new_key(store_id)
    row = await call_as_owner(dsn, CREATE_API_KEY, store_id, name, digest(key), scopes, expires_at)
    if results.is_error(row["result_code"]):
        return refuse(row, store_id=store_id)
    made = msgspec.json.decode(row["document"])
    until = f", until {made['expires_at']}" if made["expires_at"] else ""
    print(f"Key {made['key_id']} of {store_id}, not shown again: {key}")
    print(f"It may: {', '.join(made['scopes'])}{until}.")
    return 0


async def list_keys(dsn: str, store_id: str) -> int:
    """Print the keys of a store, revoked ones too."""
    async with connected(dsn, OWNER) as connection:
        rows = await connection.fetch(LIST_API_KEYS, store_id)
    for row in rows:
        used = f"last used {row['last_used_at']:%F %R}" if row["last_used_at"] else "never used"
        until = f"ends {row['expires_at']:%F %R}" if row["expires_at"] else "good"
        state = f"revoked {row['revoked_at']:%F %R}" if row["revoked_at"] else until
        made = f"made {row['created_at']:%F %R}"
        scopes = ",".join(row["scopes"])
        print(f"{row['key_id']}  {row['name']}  {scopes}  {made}  {used}  {state}")
    print(f"{len(rows)} keys of {store_id}. Times are in UTC.")
    return 0


async def revoke_key(dsn: str, store_id: str, key_id: int) -> int:
    """Revoke a key: no process takes it two seconds later."""
    row = await call_as_owner(dsn, REVOKE_API_KEY, store_id, min(key_id, MAX_BIGINT))
    if results.is_error(row["result_code"]):
        return refuse(row, store_id=store_id, key_id=key_id)
    print(f"Key {key_id} of {store_id} opens nothing any more.")
    return 0


def _moment(written: str) -> datetime:
    """A time in UTC, or the end of a day there; ValueError for what is neither."""
    if "T" in written:
        return Timestamp.parse(written)
    return datetime.combine(date.fromisoformat(written), time.max, UTC)
