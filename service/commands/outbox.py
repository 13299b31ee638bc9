"""outbox: messages that were given up."""

import argparse

from service import results
from service.commands import Commands
from service.database.connections import connected
from service.database.roles import OWNER
from service.database.urls import owner_url
from service.settings import Settings


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("outbox", help="messages that were given up: list, revive")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    dead = actions.add_parser("list", help="print the dead letters of all stores")
    dead.set_defaults(run=run_list)
    revive = actions.add_parser("revive", help="have dead letters of a store tried again")
    revive.add_argument("--store", help="default: HOLDFAST_STORE")
    revive.add_argument("messages", nargs="+", type=int, metavar="MESSAGE_ID")
    revive.set_defaults(run=run_revive)


async def run_list(settings: Settings, arguments: argparse.Namespace) -> None:
    """One line per dead letter."""
    async with (
        owner_url(settings) as dsn,
        connected(dsn, "holdfast_reader", seconds=None) as connection,
    ):
        rows = await connection.fetch("SELECT * FROM dead_letters ORDER BY store_id, message_id")
    for row in rows:
        print("  ".join(f"{name}={value}" for name, value in row.items()))
    print(f"{len(rows)} dead letters" if rows else "No dead letters.")


async def run_revive(settings: Settings, arguments: argparse.Namespace) -> int:
    """Each message for itself; 1 if one is no dead letter."""
    store_id, status = arguments.store or settings.store, 0
    async with owner_url(settings) as dsn, connected(dsn, OWNER) as connection:
        for message_id in arguments.messages:
            code = await connection.fetchval("SELECT revive_message($1, $2)", store_id, message_id)
            print(f"{store_id} {message_id}: {code}")
            status |= results.is_error(code)
    return status
