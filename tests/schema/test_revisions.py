"""The schema goes up and down through every revision, whoever else does so, and when killed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from service.database import migrate
from tests.support.aliases import NewDatabase, RunProgram
from tests.support.processes import finish
from tests.support.snapshots import all_objects, fetch, snapshot, until

WAITS_FOR_LOCK = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
ALL_FOUR_ARE_THERE = """
SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = current_database()
    AND (wait_event_type = 'Lock' OR query ~ 'advisory_lock|^ROLLBACK')
    AND pid <> pg_backend_pid()
"""
# Between two attempts a session is idle, after its ROLLBACK.
ASKED_FOR_THE_LOCK = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND query ~ 'advisory_lock|^ROLLBACK' AND pid <> pg_backend_pid()
"""


def add_revision(revisions: Path, name: str, upgrade: str) -> None:
    """A revision after all others."""
    script = ScriptDirectory.from_config(migrate.alembic_config(""))
    (revisions / f"{name}_more.py").write_text(
        "from alembic import op\n"
        "from service.database.migrate import run_script\n"
        f"revision, down_revision = {name!r}, {script.get_current_head()!r}\n"
        f"def upgrade():\n    {upgrade}\n"
    )


def tables_of(found: dict[str, str]) -> dict[str, str]:
    """A snapshot without what is made by sql/, which each downgrade drops, whoever brought it."""
    made = ("function holdfast.", "trigger ")
    return {name: text for name, text in found.items() if not name.startswith(made)}


async def test_every_revision_goes_up_down_and_up_again(
    new_database: NewDatabase, reference: dict[str, str]
) -> None:
    url = await new_database()
    config = migrate.alembic_config(url)

    async def go(direction: Callable[..., None], revision: str) -> dict[str, str]:
        await asyncio.to_thread(direction, config, revision)
        found = await snapshot(url)
        # Alembic's table outlives its revisions, and gets its comments when head is reached. What
        # is of sql/ goes before any downgrade, also where a revision had made it.
        return {
            name: text
            for name, text in found.items()
            if "alembic_version" not in name and not name.startswith("function ")
        }

    at = {"base": await snapshot(url)}
    down = "base"
    for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
        up = script.revision
        at[up] = await go(command.upgrade, up)
        assert at[up] != at[down], f"{up} changes nothing"
        left = await go(command.downgrade, down)
        assert tables_of(left) == tables_of(at[down]), f"{up} leaves something behind"
        again = await go(command.upgrade, up)
        assert tables_of(again) == tables_of(at[up]), f"{up} is not the same again"
        down = up
    assert await snapshot(url) == reference


async def test_downgrade_to_base_leaves_an_empty_database(new_database: NewDatabase) -> None:
    url = await new_database()
    before = await all_objects(url)
    await migrate.upgrade_in_thread(url)
    assert await all_objects(url) != before
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert await all_objects(url) == before
    assert len(await fetch(url, "SELECT FROM pg_roles WHERE rolname ~ '^holdfast_'")) >= 4


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE holdfast.of_the_dba ()",
        "CREATE VIEW public.of_the_dba AS SELECT * FROM holdfast.stock_levels",
    ],
)
async def test_a_downgrade_stops_at_what_is_not_ours(made: str, statement: str) -> None:
    await fetch(made, statement)
    with pytest.raises(DBAPIError, match="of_the_dba"):
        await asyncio.to_thread(migrate.downgrade, made, "base")
    assert "relation " + statement.split()[2] in await snapshot(made)


async def test_a_revision_that_fails_leaves_those_before_it(
    new_database: NewDatabase, revisions: Path
) -> None:
    url = await new_database()
    add_revision(revisions, "8888", "run_script('CREATE TABLE first ()')")
    add_revision(revisions, "9999", "run_script('CREATE TABLE second (); SELECT 1 / 0')")
    with pytest.raises(DBAPIError, match="division by zero"):
        await migrate.upgrade_in_thread(url)
    found = await snapshot(url)
    assert "relation holdfast.first" in found
    assert "relation holdfast.second" not in found
    assert await fetch(url, "SELECT version_num FROM holdfast.alembic_version") == [("8888",)]


async def test_four_upgrades_of_one_empty_database_at_once(
    new_database: NewDatabase, reference: dict[str, str], run: RunProgram
) -> None:
    url = await new_database()
    commands = [
        (("alembic", "upgrade", "head"), {"HOLDFAST_DATABASE_URL": url}),
        (("alembic", "upgrade", "head"), {"HOLDFAST_MIGRATION_URL": url}),
        (
            ("alembic", "upgrade", "head"),
            {"HOLDFAST_MIGRATION_URL": url, "HOLDFAST_DATABASE_URL": "postgresql://no@/where"},
        ),
        (("service", "migrate"), {"HOLDFAST_DATABASE_URL": url}),
    ]
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("LOCK TABLE pg_namespace IN SHARE MODE")  # stops CREATE SCHEMA
        processes = [await run(*command, **settings) for command, settings in commands]
        await until(url, ALL_FOUR_ARE_THERE)
    await other.close()
    for status, output in await asyncio.gather(*map(finish, processes)):
        assert status == 0, output
    assert await snapshot(url) == reference


async def test_an_index_is_built_concurrently_while_another_upgrade_waits(
    new_database: NewDatabase, revisions: Path, run: RunProgram
) -> None:
    url = await new_database()
    await migrate.upgrade_in_thread(url)
    add_revision(
        revisions,
        "9999",
        "with op.get_context().autocommit_block():"
        " run_script('CREATE INDEX CONCURRENTLY more ON stock (on_hand)')",
    )
    upgrade = ("alembic", "-c", str(revisions.parents[1] / "alembic.ini"), "upgrade", "head")
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("LOCK TABLE holdfast.stock IN ROW EXCLUSIVE MODE")
        building = await run(*upgrade, HOLDFAST_DATABASE_URL=url)
        await until(url, WAITS_FOR_LOCK)
        waiting = await run(*upgrade, HOLDFAST_DATABASE_URL=url)
        await until(url, ASKED_FOR_THE_LOCK)
    await other.close()
    for status, output in await asyncio.gather(finish(building), finish(waiting)):
        assert status == 0, output
    index = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'holdfast.more'::regclass"
    assert await fetch(url, index) == [(True,)]


# Creating a foreign key writes the one catalog, creating a view the other.
@pytest.mark.parametrize("catalog", ["pg_trigger", "pg_rewrite"], ids=["in_revision", "in_sql"])
async def test_an_upgrade_that_was_killed_is_completed_by_the_next(
    new_database: NewDatabase, reference: dict[str, str], run: RunProgram, catalog: str
) -> None:
    url = await new_database()
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute(f"LOCK TABLE {catalog} IN SHARE MODE")
        process = await run("alembic", "upgrade", "head", HOLDFAST_DATABASE_URL=url)
        await until(url, WAITS_FOR_LOCK)
        process.kill()
        await finish(process)
    await other.close()
    await migrate.upgrade_in_thread(url)
    assert await snapshot(url) == reference


async def test_alembic_without_a_database_says_what_to_set(run: RunProgram) -> None:
    status, output = await finish(await run("alembic", "upgrade", "head"))
    assert status == 1
    assert output.strip() == "Set HOLDFAST_DATABASE_URL, or use: python -m service migrate"


async def test_alembic_current_only_looks(new_database: NewDatabase) -> None:
    url = await new_database()
    before = await snapshot(url)
    await asyncio.to_thread(command.current, migrate.alembic_config(url))
    assert await snapshot(url) == before
