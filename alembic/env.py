"""How alembic reaches the database, and how sql/ follows the revisions.

One connection does everything, under one session advisory lock, so that several pods may start
at once: roles and schema; each revision in its own transaction; then, at head, sql/ in one.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection

from service.database import migrate
from service.database.install import install_objects
from service.database.sql_files import SCHEMA


def run_command(connection: Connection) -> None:
    """Run the command's revisions; at head bring sql/ in line, at base leave nothing behind."""
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        version_table_schema=SCHEMA,
    )
    only_looks = context.get_context().opts.get("dont_mutate")  # `alembic current`
    if not only_looks:
        migrate.lock_database(connection)
        migrate.prepare_database(connection)
    with context.begin_transaction():
        context.run_migrations()
    heads = context.get_context().get_current_heads()
    connection.commit()
    if only_looks:
        return
    if not heads:
        migrate.drop_schema(connection)
    elif set(heads) == set(context.script.get_heads()):
        install_objects(connection)


async def run() -> None:
    """Run on a connection of our own; the lock goes with it, also when we are killed."""
    engine = migrate.create_owner_engine(context.config.get_main_option("sqlalchemy.url"))
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run_command)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Holdfast migrates online only: sql/ is compared with what is installed.")
asyncio.run(run())
