"""How alembic reaches the database, and how sql/ follows the revisions.

One connection does everything, under one session advisory lock, so that several pods may start
at once: roles and schema; each revision in its own transaction; then, at head, sql/ in one.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from service import migrate


def run_revisions(connection: Connection) -> None:
    """Run the revisions asked for; at head bring sql/ in line, at base leave nothing behind."""
    context.configure(
        connection=connection,
        transaction_per_migration=True,
        version_table_schema=migrate.SCHEMA,
    )
    with context.begin_transaction():
        context.run_migrations()

    heads = context.get_context().get_current_heads()
    connection.commit()
    if not heads:
        migrate.drop_schema(connection)
    elif set(heads) == set(context.script.get_heads()):
        migrate.install_objects(connection)


async def run() -> None:
    """Take the lock, then run; the lock goes with the connection, also when we are killed."""
    engine = migrate.create_owner_engine(context.config.get_main_option("sqlalchemy.url"))
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": migrate.LOCK})
            await connection.run_sync(migrate.prepare_database)
            await connection.run_sync(run_revisions)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    raise SystemExit("Holdfast migrates online only: sql/ is compared with what is installed.")
asyncio.run(run())
