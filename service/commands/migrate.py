"""migrate: bring the database to the newest schema."""

import argparse

from service.commands import Commands
from service.database import migrate
from service.database.connections import connected
from service.database.urls import owner_url
from service.settings import Settings


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    newest = "bring the database to the newest schema"
    commands.add_parser("migrate", help=newest, description=newest).set_defaults(run=run)


async def run(settings: Settings, arguments: argparse.Namespace) -> None:
    """Upgrade, then say where the schema stands."""
    async with owner_url(settings) as dsn:
        await migrate.upgrade_in_thread(dsn)
        async with connected(dsn, migrate.OWNER) as connection:
            revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        print(f"The schema is at revision {revision}, sql/ is installed.")
