"""Databases of a test's own, at any revision."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
from alembic.script import ScriptDirectory

from service.database import migrate
from tests.support.servers import with_database


def empty_database(cluster: str) -> AbstractAsyncContextManager[str]:
    """URL of a database made for the time being, with nothing in it."""
    return copied_database(cluster, "template1")


@asynccontextmanager
async def copied_database(cluster: str, template: str) -> AsyncIterator[str]:
    """URL of a copy made for the time being."""
    name = f"holdfast_copy_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(cluster)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield with_database(cluster, name)
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


def revision_before(name: str) -> str:
    """The revision that comes before the one of this name, as in NNNN_name.py."""
    scripts = ScriptDirectory.from_config(migrate.alembic_config(""))
    (found,) = [each for each in scripts.walk_revisions() if each.path.endswith(f"_{name}.py")]
    return str(found.down_revision)


async def make_bare(admin: Any) -> None:
    """Leave no role but PostgreSQL's own, and no database that somebody else made."""
    others = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname LIKE 'of\\_%'"
    for row in await admin.fetch(others):
        await admin.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")
    await admin.execute("ALTER DATABASE holdfast OWNER TO postgres")
    roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres'"
    for row in await admin.fetch(roles):
        await admin.execute(f"DROP OWNED BY {row['rolname']}; DROP ROLE {row['rolname']}")
