"""Databases of a test's own, at any revision."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

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
