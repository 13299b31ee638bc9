"""Copies of the migrated database, one for each test; used again where a test only wrote rows.

To make and drop a copy costs 18 ms and to look at it through new connections 20 ms more, to empty
one 6 ms. What a test did is read from the catalogs: a copy in which anything but rows was changed,
or that has grown, is dropped.
"""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from tests import plpgsql_coverage
from tests.support.servers import STRATEGY, with_database

LARGEST = 64 * 8192
"""Of a table that is emptied: the indexes of a larger one would stay as large."""
MOST_USES = 100
"""The catalogs grow a little with each."""

# The newest change and the number of rows of each catalog. Those of pg_class are told apart, since
# its rows are put back by ourselves, too.
CATALOGS = """
pg_attrdef pg_attribute pg_cast pg_collation pg_constraint pg_default_acl pg_description pg_enum
pg_event_trigger pg_extension pg_index pg_inherits pg_namespace pg_operator pg_policy pg_proc
pg_rewrite pg_sequence pg_statistic_ext pg_trigger pg_type
"""
FROZEN = 2**31 - 1
NEWEST = f"""(
    SELECT concat(count(*), ':', age('3'::xid) - nullif(min(age(xmin)), {FROZEN})) FROM {{}}
)"""
OF_CLASSES = f"SELECT {NEWEST.format('pg_class')}"
OF_ALL = f"""
SELECT concat_ws(' ', {", ".join(map(NEWEST.format, CATALOGS.split()))},
    {NEWEST.format("holdfast.alembic_version")}, {NEWEST.format("holdfast.installed_files")},
    d.datdba, d.datacl, d.datconnlimit, (SELECT array_agg(setconfig ORDER BY setrole)
        FROM pg_db_role_setting WHERE setdatabase = d.oid))
FROM pg_database AS d WHERE datname = current_database()
"""
OTHERS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
WRITTEN = """
SELECT oid::regclass::text AS name, pg_relation_size(oid) AS bytes FROM pg_class
WHERE relnamespace = 'holdfast'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
    AND relname NOT IN ('alembic_version', 'installed_files')
"""
# What the planner was told of tables and indexes, as in a copy that is new.
SIZES = """
SELECT oid, relpages, reltuples, relallvisible FROM pg_class
WHERE relnamespace = 'holdfast'::regnamespace AND relkind IN ('r', 'i')
"""
RESTORE_SIZES = """
UPDATE pg_class AS c
SET relpages = was.relpages, reltuples = was.reltuples, relallvisible = was.relallvisible
FROM unnest($1::oid[], $2::int[], $3::real[], $4::int[])
    AS was (oid, relpages, reltuples, relallvisible)
WHERE c.oid = was.oid AND (c.relpages, c.reltuples, c.relallvisible)
    IS DISTINCT FROM (was.relpages, was.reltuples, was.relallvisible)
"""
FORGET = """
DELETE FROM pg_statistic WHERE starelid >= 16384;
SELECT setval(seqrelid, seqstart, false) FROM pg_sequence
WHERE pg_sequence_last_value(seqrelid) IS NOT NULL;
SELECT pg_stat_reset()
"""


@dataclass
class Copy:
    """One database; its inspector is a superuser's connection that stays."""

    name: str
    url: str
    inspector: Any = None
    state: tuple[str, str] = ("", "")
    sizes: tuple[list[Any], ...] = ()
    uses: int = 0


@dataclass
class Copies:
    """All copies of a test process."""

    cluster: str
    template: str
    admin: Any
    idle: list[Copy] = field(default_factory=list)

    async def take(self) -> Copy:
        """A copy that is as the template is."""
        return self.idle.pop() if self.idle else await self._make()

    async def _make(self) -> Copy:
        name = f"holdfast_test_{secrets.token_hex(4)}"
        await self.admin.execute(
            f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY {STRATEGY}"
        )
        await plpgsql_coverage.watch(self.admin, name)
        copy = Copy(name, with_database(self.cluster, name))
        copy.inspector = await asyncpg.connect(copy.url)
        copy.state = await self._state(copy)
        rows = [tuple(row) for row in await copy.inspector.fetch(SIZES)]
        copy.sizes = tuple(map(list, zip(*rows, strict=True)))
        return copy

    async def give_back(self, copy: Copy) -> list[Any]:
        """Take a copy back after a test, to be used again or dropped; its broken invariants."""
        is_kept = False
        try:
            if copy.inspector.is_closed() or not await self._answers(copy):
                copy.inspector = await asyncpg.connect(copy.url)
            broken = await copy.inspector.fetch("SELECT * FROM holdfast.invariant_violations")
            await plpgsql_coverage.collect(copy.inspector)
            is_kept = not broken and await self._is_emptied(copy)
        finally:
            if is_kept:
                self.idle.append(copy)
            else:
                await self.drop(copy)
        return list(broken)

    async def drop(self, copy: Copy) -> None:
        """Remove a copy, whoever is connected."""
        copy.inspector.terminate()
        await self.admin.execute(f"DROP DATABASE {copy.name} WITH (FORCE)")

    async def _answers(self, copy: Copy) -> bool:
        try:
            return bool(await copy.inspector.fetchval("SELECT true"))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return False

    async def _state(self, copy: Copy) -> tuple[str, str]:
        return await copy.inspector.fetchval(OF_ALL), await copy.inspector.fetchval(OF_CLASSES)

    async def _is_emptied(self, copy: Copy) -> bool:
        """Whether the copy is again as it was when it was made."""
        copy.uses += 1
        if copy.uses == MOST_USES or not await self._is_left_alone(copy):
            return False
        if await self._state(copy) != copy.state:
            return False
        written = await copy.inspector.fetch(WRITTEN)
        if any(row["bytes"] > LARGEST for row in written):
            return False
        names = [row["name"] for row in written]
        emptied = "; ".join(f"DELETE FROM {name}" for name in names)
        await copy.inspector.execute(
            f"SET session_replication_role = replica; {emptied}; {FORGET};"
            " RESET session_replication_role"
        )
        if names:
            await copy.inspector.execute(f"VACUUM {', '.join(names)}")
            await copy.inspector.execute(RESTORE_SIZES, *copy.sizes)
        copy.state = (copy.state[0], await copy.inspector.fetchval(OF_CLASSES))
        return True

    async def _is_left_alone(self, copy: Copy) -> bool:
        """Whether every other connection has gone; what a test left behind is ended here."""
        deadline = time.monotonic() + 5
        while others := await copy.inspector.fetch(OTHERS):
            if time.monotonic() > deadline:
                return False
            for other in others:
                await self.admin.execute("SELECT pg_terminate_backend($1)", other["pid"])
            await asyncio.sleep(0.002)
        return True
