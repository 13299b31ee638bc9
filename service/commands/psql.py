"""psql: the real one, on the service's database, with role and search_path set."""

import argparse
import asyncio
import shutil
import subprocess
from urllib.parse import quote

import asyncpg

from service.commands import Commands
from service.database.connections import SEARCH_PATH, dial, without_pooler
from service.database.embedded.binaries import find_binaries
from service.database.embedded.files import EmbeddedError
from service.database.embedded.server import running_urls
from service.database.urls import owner_url
from service.settings import Settings, SettingsError


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    parser = commands.add_parser("psql", help="open psql on the service's database, as the reader")
    parser.add_argument("--as", dest="role", choices=["reader", "owner"], default="reader")
    parser.add_argument("--url", action="store_true", help="only print a libpq URL for the same")
    parser.add_argument("rest", nargs="*", metavar="-- PSQL_ARGUMENT", help="handed to psql")
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Open psql, or print the URL that it would open."""
    role = f"holdfast_{arguments.role}"
    options = f"-c role={role} -c search_path={SEARCH_PATH.replace(' ', '')}"
    if arguments.role == "reader":
        options += " -c default_transaction_read_only=on"
    if arguments.url and not settings.owner_url and not running_urls(settings.data_dir):
        raise EmbeddedError("PostgreSQL is not running; start it with: make run")
    async with owner_url(settings) as dsn:
        dsn = without_pooler(dsn)
        url = f"{dsn}{'&' if '?' in dsn else '?'}options={quote(options)}"
        if arguments.url:
            print(url)
            return 0
        await _check(dsn, role)
        binary = shutil.which("psql") or find_binaries(settings.data_dir) / "psql"
        command = [str(binary), url, *arguments.rest]
        return await asyncio.to_thread(subprocess.call, command)


async def _check(dsn: str, role: str) -> None:
    """Say what is in the way, which psql would say in fewer words."""
    try:
        connection = await dial(dsn, server_settings={"role": role})
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError) as error:
        raise SettingsError(
            f"This login may not work as {role} ({error}). An administrator can: GRANT {role} TO "
            "it; see python -m service migrate --sql-roles"
        ) from None
    await connection.close()
