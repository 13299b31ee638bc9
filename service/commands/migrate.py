"""migrate: bring the database to the newest schema."""

import argparse
import sys

from service.commands import Commands
from service.commands.first_start import fill_store
from service.database import migrate
from service.database.connections import dial
from service.database.prepare import set_up
from service.database.roles import shortcomings
from service.database.sql_files import read_file
from service.database.urls import owner_url
from service.settings import Settings

BY_HAND = """\
-- What an administrator runs where the owner's login may not create roles, or where the service is
-- to have a login of its own. As a superuser, in the database:
--   python -m service migrate --sql-roles | PGOPTIONS='-c holdfast.password=…' psql …
-- Then HOLDFAST_DATABASE_URL is that of holdfast_login and HOLDFAST_MIGRATION_URL that of
-- holdfast_admin; logins of your own do as well, with the same GRANTs. Last: migrate.
"""


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    newest = "bring the database to the newest schema, with the stores that the settings name"
    parser = commands.add_parser("migrate", help=newest, description=newest)
    parser.add_argument(
        "--sql-roles",
        action="store_true",
        help="only print the SQL by which an administrator makes roles and logins",
    )
    parser.add_argument(
        "--first-start",
        action="store_true",
        help="also what serve does for a developer: an admin, and with --demo a small stock",
    )
    parser.add_argument("--demo", action="store_true", help="see serve --demo")
    parser.set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Upgrade, then say where the schema stands and what is missing; 1 if something is."""
    if arguments.sql_roles:
        print("\n".join([BY_HAND, read_file("roles/roles.sql"), read_file("roles/logins.sql")]))
        return 0
    async with owner_url(settings) as dsn:
        await set_up(settings, dsn)
        if arguments.first_start:
            await fill_store(settings, dsn, demo=arguments.demo)
        connection = await dial(dsn)
        try:
            state = await migrate.state_of(connection)
            missing = await shortcomings(connection)
        finally:
            await connection.close()
    print(f"The schema is at revision {state.installed}, sql/ is installed.")
    for sentence in missing:
        print(sentence, file=sys.stderr)
    return 1 if missing else 0
