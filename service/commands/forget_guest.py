"""forget-guest: erase a guest's name and contacts wherever they stand."""

import argparse
import sys

import msgspec

from service import results
from service.commands import Commands
from service.database.connections import connected
from service.database.roles import OWNER
from service.database.urls import owner_url
from service.settings import Settings

FORGET_GUEST = "SELECT * FROM forget_guest($1, $2, session_user)"


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    erases = "erase a guest's name, e-mail, phone and language; their bookings stay, without them"
    parser = commands.add_parser("forget-guest", help=erases, description=erases)
    parser.add_argument("contact", metavar="EMAIL|PHONE", help="as the guest gave it")
    parser.add_argument("--store", help="default: HOLDFAST_STORE")
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Erase, and say of how many bookings."""
    store_id = arguments.store or settings.store
    async with owner_url(settings) as dsn, connected(dsn, OWNER) as connection:
        row = await connection.fetchrow(FORGET_GUEST, store_id, arguments.contact)
    if results.is_error(row["result_code"]):
        print(f"holdfast: {results.RESULTS[row['result_code']].detail}", file=sys.stderr)
        return 2
    count = msgspec.json.decode(row["document"])["forgotten"]
    print(f"The guest of {count} bookings of {store_id} is forgotten.")
    return 0
