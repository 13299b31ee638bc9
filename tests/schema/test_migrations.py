"""The schema goes up and down through every revision, and holds exactly what the files say."""

import asyncio
import logging
import os
import re
import secrets
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from service.database import migrate
from service.database.connections import connected
from service.database.embedded.server import Postgres
from service.settings import ROOT
from tests.support.servers import with_database

NewDatabase = Callable[..., Awaitable[str]]
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]

# All that pg_dump would tell of a database's schemas, one row per object.
SNAPSHOT = """
WITH schemas AS (
    SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), relations AS (
    SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class AS c JOIN schemas AS n ON n.oid = c.relnamespace
), objects (object, definition, owner, acl, comment) AS (
    SELECT 'schema ' || nspname, '', nspowner, COALESCE(nspacl, acldefault('n', nspowner)),
        obj_description(oid, 'pg_namespace')
    FROM schemas
    UNION ALL
    SELECT 'relation ' || name,
        concat_ws(' ', relkind, relpersistence, relreplident, relrowsecurity, reloptions,
            CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) WHEN 'i' THEN pg_get_indexdef(oid) END,
            (SELECT to_jsonb(s) - 'seqrelid' FROM pg_sequence AS s WHERE seqrelid = relations.oid),
            (SELECT indisvalid FROM pg_index WHERE indexrelid = relations.oid)),
        relowner, COALESCE(relacl, acldefault(
            CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)),
        obj_description(oid, 'pg_class')
    FROM relations
    UNION ALL
    SELECT format('column %s.%I', name, attname),
        concat_ws(' ', rank() OVER (PARTITION BY attrelid ORDER BY attnum),
            format_type(atttypid, atttypmod), attcollation::regcollation, attnotnull,
            attidentity, attgenerated, attstorage, pg_get_expr(adbin, adrelid)),
        NULL, attacl, col_description(attrelid, attnum)
    FROM relations JOIN pg_attribute ON attrelid = relations.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND relkind NOT IN ('i', 'S')
    UNION ALL
    SELECT format('constraint %I on %s', conname, COALESCE(name, contypid::regtype::text)),
        concat_ws(' ', pg_get_constraintdef(c.oid), convalidated),
        NULL, NULL, obj_description(c.oid, 'pg_constraint')
    FROM pg_constraint AS c JOIN schemas ON schemas.oid = connamespace
    LEFT JOIN relations ON relations.oid = conrelid
    UNION ALL
    SELECT format('trigger %I on %s', tgname, name),
        concat_ws(' ', pg_get_triggerdef(t.oid), tgenabled),
        NULL, NULL, obj_description(t.oid, 'pg_trigger')
    FROM pg_trigger AS t JOIN relations ON relations.oid = tgrelid WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function ' || p.oid::regprocedure,
        CASE WHEN prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
        proowner, COALESCE(proacl, acldefault('f', proowner)), obj_description(p.oid, 'pg_proc')
    FROM pg_proc AS p JOIN schemas ON schemas.oid = pronamespace
    UNION ALL
    SELECT 'type ' || t.oid::regtype,
        concat_ws(' ', typtype, typbasetype::regtype, typdefault,
            ARRAY(SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder)),
        typowner, typacl, obj_description(t.oid, 'pg_type')
    FROM pg_type AS t JOIN schemas ON schemas.oid = typnamespace
    WHERE typtype NOT IN ('b', 'c')
    UNION ALL
    SELECT format('rule %I on %I', rulename, tablename), definition, NULL, NULL, NULL
    FROM pg_rules WHERE schemaname IN (SELECT nspname FROM schemas)
    UNION ALL
    SELECT format('policy %I on %I', policyname, tablename), to_jsonb(p)::text, NULL, NULL, NULL
    FROM pg_policies AS p
    UNION ALL
    SELECT 'extension ' || extname, extversion, extowner, NULL, NULL FROM pg_extension
    UNION ALL
    SELECT concat_ws(' ', 'default rights', defaclrole::regrole, defaclnamespace, defaclobjtype),
        '', NULL, defaclacl, NULL
    FROM pg_default_acl
    UNION ALL
    SELECT 'settings of ' || setrole, setconfig::text, NULL, NULL, NULL FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT object, concat_ws(E'\\n', definition, 'owner: ' || owner::regrole, 'rights: '
    || ARRAY(SELECT item::text FROM unnest(acl) AS item ORDER BY 1)::text, comment) AS definition
FROM objects
"""

# Catalogs of one database whose rows have an oid: whatever is made appears in one of them.
CATALOGS = """
SELECT relname FROM pg_class AS c
WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
    AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'oid')
"""
# When each row came to be. Nothing that an upgrade leaves alone gets a new one.
ROW_VERSIONS = " UNION ALL ".join(
    f"SELECT '{table}', tableoid::text || ctid::text, xmin::text FROM {table}"
    for table in (
        *("pg_proc", "pg_class", "pg_trigger", "pg_description", "pg_rewrite", "pg_depend"),
        *("holdfast.installed_files", "holdfast.alembic_version"),
    )
)
WAITS_FOR_LOCK = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
ALL_FOUR_ARE_THERE = """
SELECT count(*) = 4 FROM pg_stat_activity WHERE datname = current_database()
    AND (wait_event_type = 'Lock' OR query ~ 'advisory_lock|^ROLLBACK')
    AND pid <> pg_backend_pid()
"""
ALL_FOUR_WAIT_FOR_LOCKS = "SELECT count(*) = 4 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
# Between two attempts a session is idle, after its ROLLBACK.
ASKED_FOR_THE_LOCK = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND query ~ 'advisory_lock|^ROLLBACK' AND pid <> pg_backend_pid()
"""


@asynccontextmanager
async def database(cluster: str, template: str = "template1") -> AsyncIterator[str]:
    """Name of a database made for the time being."""
    name = f"holdfast_schema_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(cluster)
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield name
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture
async def new_database(cluster: str) -> AsyncIterator[NewDatabase]:
    """new_database(): URL of an empty database of this test's own, or of a copy of a template."""
    async with AsyncExitStack() as stack:

        async def create(template: str = "template1") -> str:
            name = await stack.enter_async_context(database(cluster, template))
            return with_database(cluster, name)

        yield create


@pytest.fixture(scope="module")
async def by_hand(
    cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """A database made from the revisions and every file of sql/, and its snapshot.

    The files are run one by one as they are, without what `install_objects` makes of them.
    """
    async with database(cluster) as name:
        url = with_database(cluster, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(migrate, "SQL", copy_of_sql(tmp_path_factory.mktemp("sql")))
            (migrate.SQL / "manifest.txt").write_text("")
            await migrate.upgrade_in_thread(url)
        async with connected(url, migrate.OWNER, seconds=None) as owner:
            for path in migrate.manifest():
                await owner.execute((migrate.SQL / path).read_text())
        yield name, await snapshot(url)


@pytest.fixture
def reference(by_hand: tuple[str, dict[str, str]]) -> dict[str, str]:
    """What a database at head must hold."""
    return by_hand[1]


@pytest.fixture
async def made(new_database: NewDatabase, by_hand: tuple[str, dict[str, str]]) -> str:
    """URL of a database at head, for statements that try to spoil it."""
    return await new_database(by_hand[0])


@pytest.fixture
def sql_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that migrations use during this test."""
    monkeypatch.setattr(migrate, "SQL", copy_of_sql(tmp_path / "sql"))
    return migrate.SQL


@pytest.fixture
def revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of alembic/versions that migrations use during this test."""
    shutil.copytree(ROOT / "alembic", tmp_path / "alembic")
    shutil.copy(ROOT / "alembic.ini", tmp_path)
    monkeypatch.setattr(migrate, "ROOT", tmp_path)
    return tmp_path / "alembic" / "versions"


def add_revision(revisions: Path, name: str, upgrade: str) -> None:
    """A revision after all others."""
    script = ScriptDirectory.from_config(migrate.alembic_config(""))
    (revisions / f"{name}_more.py").write_text(
        "from alembic import op\n"
        "from service.database.migrate import run_script\n"
        f"revision, down_revision = {name!r}, {script.get_current_head()!r}\n"
        f"def upgrade():\n    {upgrade}\n"
    )


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("alembic", …, HOLDFAST_…=…): a Python program with these settings only."""
    processes = []

    async def start_program(*command: str, **settings: str) -> asyncio.subprocess.Process:
        others = {name: text for name, text in os.environ.items() if "HOLDFAST" not in name}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *command),
            cwd=ROOT,
            env=others | {"HOLDFAST_ENV_FILE": os.devnull} | settings,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        processes.append(process)
        return process

    yield start_program
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def copy_of_sql(target: Path) -> Path:
    return Path(shutil.copytree(ROOT / "sql", target, dirs_exist_ok=True))


def add_file(sql_folder: Path, path: str, body: str, before: str = "roles/grants.sql") -> None:
    """A new file of sql/, listed in the manifest before another."""
    (sql_folder / path).write_text(body)
    manifest = sql_folder / "manifest.txt"
    manifest.write_text(manifest.read_text().replace(f"\n{before}\n", f"\n{path}\n{before}\n"))
    assert path in migrate.manifest()


def remove_file(sql_folder: Path, path: str) -> None:
    (sql_folder / path).unlink()
    manifest = sql_folder / "manifest.txt"
    manifest.write_text(manifest.read_text().replace(f"\n{path}\n", "\n"))


async def fetch(url: str, query: str, *arguments: Any) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query, *arguments)]
    finally:
        await connection.close()


async def fetch_snapshot(connection: Any) -> dict[str, str]:
    rows = await connection.fetch(SNAPSHOT)
    return {row["object"]: row["definition"] for row in rows}


async def snapshot(url: str) -> dict[str, str]:
    """What a database holds beside the system's own: object -> definition, rights, comment."""
    connection = await asyncpg.connect(url)
    try:
        return await fetch_snapshot(connection)
    finally:
        await connection.close()


async def all_objects(url: str) -> dict[str, set[int]]:
    """The oids of every catalog that has any; for the shared ones, how often we refer to them."""
    connection = await asyncpg.connect(url)
    try:
        names = [row["relname"] for row in await connection.fetch(CATALOGS)]
        found = {
            name: {row["oid"] for row in await connection.fetch(f"SELECT oid FROM {name}")}
            for name in names
        }
        shared = await connection.fetchval(
            "SELECT count(*)::int FROM pg_shdepend WHERE dbid ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return found | {"pg_shdepend": {shared}}
    finally:
        await connection.close()


async def until(url: str, query: str) -> None:
    """Wait until a query answers true."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(60):
            while not await connection.fetchval(query):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit status and all that was printed."""
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()


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
        assert await go(command.upgrade, up) == at[up], f"{up} is not the same again"
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


async def test_downgrade_drops_views_that_stand_on_each_other(
    new_database: NewDatabase, sql_folder: Path
) -> None:
    url = await new_database()
    for number in range(12):
        below = f"twelve_{number - 1}" if number else "stock_levels"
        body = f"CREATE VIEW twelve_{number} AS SELECT * FROM {below};"
        add_file(sql_folder, f"stock/twelve_{number}.sql", body)
    await migrate.upgrade_in_thread(url)
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "schema holdfast" not in await snapshot(url)


async def test_a_second_upgrade_changes_nothing_and_waits_for_nobody(
    new_database: NewDatabase,
) -> None:
    url = await new_database()
    await migrate.upgrade_in_thread(url)
    before = set(await fetch(url, ROW_VERSIONS))
    other = await asyncpg.connect(url)
    tables = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = $1"
    schema = await other.fetchval("SELECT 'holdfast'::regnamespace::oid")
    async with other.transaction():
        for row in await other.fetch(tables, schema):
            ours = row["oid"] in ("holdfast.installed_files", "holdfast.alembic_version")
            # EXCLUSIVE lets others read, and nothing else.
            mode = "EXCLUSIVE" if ours else "ACCESS EXCLUSIVE"
            await other.execute(f"LOCK TABLE {row['oid']} IN {mode} MODE")
        async with asyncio.timeout(10):
            await migrate.upgrade_in_thread(url)
    await other.close()
    assert set(await fetch(url, ROW_VERSIONS)) == before


def test_every_file_is_named_as_the_one_object_it_makes() -> None:
    paths = {path.relative_to(migrate.SQL).as_posix() for path in migrate.SQL.glob("**/*.sql")}
    assert set(migrate.manifest()) == paths - {"roles/roles.sql"}
    assert len(set(migrate.manifest())) == len(migrate.manifest())
    for path in paths:
        if not path.startswith("roles/"):
            body = (migrate.SQL / path).read_text()
            name = Path(path).stem
            assert body.startswith((f"CREATE OR REPLACE FUNCTION {name}(", f"CREATE VIEW {name} "))
            made = re.findall(r"^CREATE (?:OR REPLACE )?(\w+) (\w+)", body, re.M)
            assert [name for kind, name in made if kind not in ("TRIGGER", "CONSTRAINT")] == [name]


async def test_the_catalogs_hold_what_the_files_say(made: str) -> None:
    bodies = [(migrate.SQL / path).read_text() for path in migrate.manifest()]
    functions = [
        (found[1], found[2])
        for body in bodies
        if (found := re.match(r"CREATE OR REPLACE FUNCTION (\w+).*?AS \$\$(.*?)\$\$", body, re.S))
    ]
    views = [found[1] for body in bodies if (found := re.match(r"CREATE VIEW (\w+)", body))]
    triggers = re.findall(r"TRIGGER (\w+)\s+(?:BEFORE|AFTER)[^;]*?\sON (\w+)", "\n".join(bodies))
    assert len(functions) + len(views) == len(bodies) - 1, "all but the rights"
    assert sorted(functions) == await fetch(
        made,
        "SELECT proname::text, prosrc FROM pg_proc"
        " WHERE pronamespace = 'holdfast'::regnamespace ORDER BY proname COLLATE \"C\"",
    )
    assert sorted(views) == [
        name
        for (name,) in await fetch(
            made,
            "SELECT viewname::text FROM pg_views WHERE schemaname = 'holdfast'"
            ' ORDER BY viewname COLLATE "C"',
        )
    ]
    assert sorted(triggers) == sorted(
        await fetch(
            made,
            "SELECT tgname::text, relname::text FROM pg_trigger JOIN pg_class AS c"
            " ON c.oid = tgrelid WHERE relnamespace = 'holdfast'::regnamespace"
            " AND NOT tgisinternal",
        )
    )


async def test_a_database_of_older_files_becomes_as_a_new_one(
    new_database: NewDatabase, reference: dict[str, str], sql_folder: Path
) -> None:
    url = await new_database()
    for path in migrate.manifest():
        body = (sql_folder / path).read_text()
        if migrate.is_view(body):
            body = f"CREATE VIEW {Path(path).stem} AS SELECT 1 AS older_column;"
        (sql_folder / path).write_text(body.replace("AS $$\n", "AS $$\n-- An older body.\n"))
    moved = (sql_folder / "shared/refuse_change.sql").read_text()
    remove_file(sql_folder, "shared/refuse_change.sql")
    add_file(sql_folder, "stock/refuse_change.sql", moved, before="stock/lock_stock.sql")
    add_file(
        sql_folder,
        "stock/gone_function.sql",
        "CREATE FUNCTION gone_function() RETURNS trigger LANGUAGE plpgsql AS '\nBEGIN END';\n"
        "CREATE FUNCTION gone_function(int) RETURNS int LANGUAGE sql AS 'SELECT 1';\n"
        "CREATE OR REPLACE TRIGGER gone BEFORE TRUNCATE ON products"
        " FOR EACH STATEMENT EXECUTE FUNCTION gone_function();",
    )
    gone_view = "CREATE VIEW gone_view AS SELECT older_column, gone_function(1) FROM stock_levels;"
    add_file(sql_folder, "stock/gone_view.sql", gone_view)
    stale_trigger = (
        "\nCREATE OR REPLACE TRIGGER stale BEFORE DELETE ON products"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();"
    )
    changes = {
        "stock/record_movement.sql": stale_trigger,
        "roles/grants.sql": "\nGRANT SELECT ON stock TO holdfast_service;"
        "\nGRANT EXECUTE ON FUNCTION lock_stock TO PUBLIC, holdfast_reader;",
    }
    for path, more in changes.items():
        (sql_folder / path).write_text((sql_folder / path).read_text() + more)

    await migrate.upgrade_in_thread(url)
    older = await snapshot(url)
    names = {"trigger stale on holdfast.products", "trigger gone on holdfast.products"}
    assert names <= set(older) - set(reference)
    migrate.SQL = ROOT / "sql"
    await migrate.upgrade_in_thread(url)
    assert await snapshot(url) == reference
    paths = await fetch(url, "SELECT path FROM holdfast.installed_files")
    assert {path for (path,) in paths} == set(migrate.manifest())


async def test_an_upgrade_touches_only_what_changed(
    new_database: NewDatabase, sql_folder: Path
) -> None:
    url = await new_database()
    await migrate.upgrade_in_thread(url)
    # Rights are given anew every time; a trigger or a view made anew would lock its table.
    made_at = (
        "SELECT path, installed_at::text FROM holdfast.installed_files"
        " UNION ALL SELECT tgname, xmin::text FROM pg_trigger"
        " UNION ALL SELECT ev_class::regclass::text, xmin::text FROM pg_rewrite"
    )
    before = set(await fetch(url, made_at))
    file = sql_folder / "stock" / "lock_stock.sql"
    file.write_text(file.read_text().replace("AS $$\n", "AS $$\n-- Changed.\n"))
    await migrate.upgrade_in_thread(url)
    after = set(await fetch(url, made_at))
    assert {name for name, _ in before ^ after} == {"stock/lock_stock.sql"}
    changed = "SELECT proname FROM pg_proc WHERE prosrc LIKE '%-- Changed.%'"
    assert await fetch(url, changed) == [("lock_stock",)]


async def test_what_an_upgrade_makes_anew_has_its_rights_again(
    new_database: NewDatabase, reference: dict[str, str], sql_folder: Path
) -> None:
    url = await new_database()
    await migrate.upgrade_in_thread(url)
    with (sql_folder / "stock" / "stock_levels.sql").open("a") as file:
        file.write("-- Changed, so all views are dropped and made again.\n")
    new = "CREATE OR REPLACE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1';"
    add_file(sql_folder, "stock/more.sql", new)
    await migrate.upgrade_in_thread(url)
    found = await snapshot(url)
    assert "rights: {holdfast_owner=X/holdfast_owner}" in found.pop("function holdfast.more()")
    assert found == reference


async def test_an_upgrade_that_fails_changes_nothing(
    new_database: NewDatabase, reference: dict[str, str], sql_folder: Path
) -> None:
    url = await new_database()
    await migrate.upgrade_in_thread(url)
    file = sql_folder / "stock" / "lock_stock.sql"
    file.write_text(file.read_text().replace("AS $$\n", "AS $$\n-- Changed.\n"))
    add_file(sql_folder, "stock/more.sql", "CREATE VIEW more AS SELECT no_such_column;")
    with pytest.raises(DBAPIError, match="no_such_column"):
        await migrate.upgrade_in_thread(url)
    assert await snapshot(url) == reference


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


async def test_a_view_of_somebody_else_stops_an_upgrade_and_is_not_lost(
    new_database: NewDatabase, sql_folder: Path
) -> None:
    url = await new_database()
    await migrate.upgrade_in_thread(url)
    await fetch(url, "CREATE VIEW public.view_of_the_dba AS SELECT * FROM holdfast.stock_levels")
    before = await snapshot(url)
    (sql_folder / "stock" / "stock_levels.sql").write_text("CREATE VIEW stock_levels AS SELECT 1;")
    with pytest.raises(DBAPIError, match="view_of_the_dba"):
        await migrate.upgrade_in_thread(url)
    assert await snapshot(url) == before


SPOILED = [
    "ALTER FUNCTION lock_stock SET work_mem = '1MB'",
    "ALTER FUNCTION reserve_stock SECURITY INVOKER",
    "ALTER FUNCTION reserve_stock OWNER TO CURRENT_USER",
    "GRANT EXECUTE ON FUNCTION lock_stock TO PUBLIC",
    "GRANT SELECT (on_hand) ON stock TO holdfast_service",
    "REVOKE SELECT ON stock_levels FROM holdfast_reader",
    "GRANT CREATE ON SCHEMA holdfast TO holdfast_worker",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA holdfast GRANT SELECT ON TABLES TO PUBLIC",
    "CREATE FUNCTION lock_stock(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP TRIGGER record_movement ON stock",
    "ALTER TABLE stock DISABLE TRIGGER record_movement",
    "CREATE TRIGGER more BEFORE TRUNCATE ON stores EXECUTE FUNCTION refuse_change()",
    "DO $$ BEGIN EXECUTE format('CREATE OR REPLACE VIEW stock_levels AS SELECT * FROM (%s) AS v"
    " LIMIT 10', rtrim(pg_get_viewdef('stock_levels'::regclass), ';')); END $$",
    "ALTER VIEW stock_levels RENAME available TO free",
    "CREATE VIEW more AS SELECT 1",
    "CREATE RULE more AS ON DELETE TO stores DO INSTEAD NOTHING",
    "CREATE TYPE more AS ENUM ('a')",
    "CREATE TABLE public.more ()",
    "CREATE INDEX more ON stock (on_hand)",
    "ALTER TABLE stock DROP CONSTRAINT never_oversold",
    "ALTER TABLE stock ALTER on_hand DROP DEFAULT",
    "ALTER TABLE stock ALTER on_hand DROP NOT NULL",
    "ALTER TABLE stores ALTER name TYPE varchar",
    "ALTER TABLE stock SET (fillfactor = 100)",
    "ALTER TABLE stock ENABLE ROW LEVEL SECURITY",
    "ALTER SEQUENCE stock_movements_movement_id_seq CYCLE",
    "COMMENT ON COLUMN stock.on_hand IS 'something else'",
]


async def test_a_catalog_changed_by_hand_is_noticed(made: str, reference: dict[str, str]) -> None:
    connection = await asyncpg.connect(made, server_settings={"search_path": "holdfast"})
    unnoticed = []
    for statement in SPOILED:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)
        if await fetch_snapshot(connection) == reference:
            unnoticed.append(statement)
        await transaction.rollback()
    assert unnoticed == []
    await connection.execute("SET search_path = public")
    assert await fetch_snapshot(connection) == reference
    await connection.close()


async def test_four_upgrades_of_one_empty_database_at_once(
    new_database: NewDatabase, reference: dict[str, str], start: Start
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
        processes = [await start(*command, **settings) for command, settings in commands]
        await until(url, ALL_FOUR_ARE_THERE)
    await other.close()
    for status, output in await asyncio.gather(*map(finish, processes)):
        assert status == 0, output
    assert await snapshot(url) == reference


async def test_an_index_is_built_concurrently_while_another_upgrade_waits(
    new_database: NewDatabase, revisions: Path, start: Start
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
        building = await start(*upgrade, HOLDFAST_DATABASE_URL=url)
        await until(url, WAITS_FOR_LOCK)
        waiting = await start(*upgrade, HOLDFAST_DATABASE_URL=url)
        await until(url, ASKED_FOR_THE_LOCK)
    await other.close()
    for status, output in await asyncio.gather(finish(building), finish(waiting)):
        assert status == 0, output
    index = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'holdfast.more'::regclass"
    assert await fetch(url, index) == [(True,)]


# Creating a foreign key writes the one catalog, creating a view the other.
@pytest.mark.parametrize("catalog", ["pg_trigger", "pg_rewrite"], ids=["in_revision", "in_sql"])
async def test_an_upgrade_that_was_killed_is_completed_by_the_next(
    new_database: NewDatabase, reference: dict[str, str], start: Start, catalog: str
) -> None:
    url = await new_database()
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute(f"LOCK TABLE {catalog} IN SHARE MODE")
        process = await start("alembic", "upgrade", "head", HOLDFAST_DATABASE_URL=url)
        await until(url, WAITS_FOR_LOCK)
        process.kill()
        await finish(process)
    await other.close()
    await migrate.upgrade_in_thread(url)
    assert await snapshot(url) == reference


async def test_alembic_without_a_database_says_what_to_set(start: Start) -> None:
    status, output = await finish(await start("alembic", "upgrade", "head"))
    assert status == 1
    assert output.strip() == "Set HOLDFAST_DATABASE_URL, or use: python -m service migrate"


async def test_alembic_current_only_looks(new_database: NewDatabase) -> None:
    url = await new_database()
    before = await snapshot(url)
    await asyncio.to_thread(command.current, migrate.alembic_config(url))
    assert await snapshot(url) == before


class BareCluster(NamedTuple):
    """A cluster without our roles."""

    url: str
    admin: Any

    async def login(self, name: str, attributes: str = "", database: str = "") -> str:
        """Make a login, and a database that it owns unless there is one; its URL."""
        await self.admin.execute(f"CREATE ROLE {name} LOGIN {attributes}")
        if not database:
            database = f"of_{name}"
            await self.admin.execute(f"CREATE DATABASE {database} OWNER {name}")
        return with_database(self.url.replace("postgres@", f"{name}@"), database)


@pytest.fixture(scope="module")
async def bare_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    bin_dir = os.environ.get("HOLDFAST_TEST_BIN_DIR")
    postgres = Postgres(
        tmp_path_factory.mktemp("bare"),
        bin_dir=Path(bin_dir) if bin_dir else None,
        options={"fsync": "off", "shared_buffers": "32MB", "max_connections": "40"},
    )
    async with postgres:
        yield postgres.url


@pytest.fixture
async def bare(bare_server: str) -> AsyncIterator[BareCluster]:
    """The cluster; what a test made in it goes afterwards."""
    admin = await asyncpg.connect(bare_server)
    yield BareCluster(bare_server, admin)
    others = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname LIKE 'of\\_%'"
    for row in await admin.fetch(others):
        await admin.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")
    roles = "SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> 'postgres'"
    for row in await admin.fetch(roles):
        await admin.execute(f"DROP OWNED BY {row['rolname']}; DROP ROLE {row['rolname']}")
    await admin.close()


async def reserve(owner_url: str, service_url: str) -> tuple[str, str]:
    """Stock a product by the one login, reserve it by the other: role at work, result code."""
    async with connected(owner_url, migrate.OWNER) as owner:
        await owner.execute(
            "SELECT create_store('main');"
            "INSERT INTO products (store_id, product_id) VALUES ('main', '7')"
            " ON CONFLICT DO NOTHING;"
            "UPDATE stock SET on_hand = on_hand + 3"
        )
    async with connected(service_url, "holdfast_service") as service:
        reserved = await service.fetchrow(
            "SELECT current_user::text, result_code FROM reserve_stock('main', $1, '7', 3)",
            secrets.token_hex(4),
        )
    return tuple(reserved)


async def test_a_login_that_may_not_create_roles_goes_on_without(
    bare: BareCluster, caplog: pytest.LogCaptureFixture
) -> None:
    url = await bare.login("plain")
    await migrate.upgrade_in_thread(url)
    assert "There is no holdfast_owner, holdfast_reader, holdfast_service, holdfast" in caplog.text
    assert await reserve(url, url) == ("plain", "ok")

    # Later an administrator makes them: their rights are then granted, too.
    await bare.admin.execute((migrate.SQL / "roles" / "roles.sql").read_text())
    await migrate.upgrade_in_thread(url)
    as_admin = with_database(bare.url, "of_plain")
    assert await reserve(url, as_admin) == ("holdfast_service", "ok")
    await bare.admin.execute("GRANT holdfast_owner, holdfast_service TO plain")
    await migrate.upgrade_in_thread(url)
    await migrate.upgrade_in_thread(as_admin)
    await asyncio.to_thread(migrate.downgrade, as_admin, "base")
    assert "schema holdfast" not in await snapshot(url)


async def test_a_login_with_createrole_needs_no_superuser(
    bare: BareCluster, caplog: pytest.LogCaptureFixture
) -> None:
    url = await bare.login("keeper", "CREATEROLE")
    with caplog.at_level(logging.WARNING):
        await migrate.upgrade_in_thread(url)
        assert await reserve(url, url) == ("holdfast_service", "ok")
    assert caplog.text == ""
    owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = $1"
    schema = (await fetch(url, "SELECT 'holdfast'::regnamespace::oid"))[0][0]
    assert await fetch(url, owners, schema) == [("holdfast_owner",)]
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "schema holdfast" not in await snapshot(url)


async def test_separate_logins_for_the_owner_and_the_service(bare: BareCluster) -> None:
    await bare.admin.execute((migrate.SQL / "roles" / "roles.sql").read_text())
    owner_url = await bare.login("releases", "IN ROLE holdfast_owner")
    service_url = await bare.login("web", "IN ROLE holdfast_service", database="of_releases")
    await migrate.upgrade_in_thread(owner_url)
    assert await reserve(owner_url, service_url) == ("holdfast_service", "ok")
    with pytest.raises(DBAPIError, match="permission denied"):
        await migrate.upgrade_in_thread(service_url)


async def test_a_login_that_may_make_no_extension_is_told_who_can(
    bare: BareCluster, start: Start
) -> None:
    await bare.admin.execute((migrate.SQL / "roles" / "roles.sql").read_text())
    await bare.admin.execute("CREATE DATABASE of_the_admin")
    url = await bare.login("poor", "IN ROLE holdfast_owner", database="of_the_admin")
    as_admin = with_database(bare.url, "of_the_admin")
    await fetch(as_admin, "CREATE SCHEMA holdfast AUTHORIZATION holdfast_owner")
    made: list[str] = []
    while len(made) < 5:
        command_line = (("alembic", "upgrade", "head"), ("service", "migrate"))[len(made) % 2]
        status, output = await finish(await start(*command_line, HOLDFAST_DATABASE_URL=url))
        if status == 0:
            break
        assert "Traceback" not in output
        said = re.search(
            r"This login may not make the extension (\w+)\. An administrator can, in this"
            r" database: (CREATE EXTENSION .*)\. Then migrate again\.$",
            output.strip(),
        )
        assert said, output
        made.append(said[1])
        await fetch(as_admin, said[2])
    assert made == ["btree_gist", "btree_gin", "pg_trgm"]
    assert await reserve(url, as_admin) == ("holdfast_service", "ok")
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "extension pg_trgm" in await snapshot(url), "it is not ours to take away"


async def test_an_extension_that_is_elsewhere_is_taken_as_it_is(bare: BareCluster) -> None:
    url = await bare.login("plain")
    await fetch(url, 'CREATE SCHEMA "of the DBA"')
    await fetch(url, 'CREATE EXTENSION pg_trgm SCHEMA "of the DBA"')
    await migrate.upgrade_in_thread(url)
    index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'products_by_trigrams'"
    assert '"of the DBA".gin_trgm_ops' in (await fetch(url, index))[0][0]
    await fetch(url, "CREATE TABLE of_the_dba (a text)")
    await fetch(url, 'CREATE INDEX ON of_the_dba USING gin (a "of the DBA".gin_trgm_ops)')
    await asyncio.to_thread(migrate.downgrade, url, "base")
    assert "extension pg_trgm" in await snapshot(url), "the DBA's index needs it"


async def test_four_databases_of_a_cluster_without_roles_at_once(
    bare: BareCluster, start: Start
) -> None:
    keeper = await bare.login("keeper", "CREATEROLE")
    urls = [with_database(keeper, f"of_four_{number}") for number in range(4)]
    for number in range(4):
        await bare.admin.execute(f"CREATE DATABASE of_four_{number} OWNER keeper")
    async with bare.admin.transaction():
        await bare.admin.execute("LOCK TABLE pg_authid IN SHARE MODE")  # stops CREATE ROLE
        processes = [
            await start("alembic", "upgrade", "head", HOLDFAST_DATABASE_URL=url) for url in urls
        ]
        await until(bare.url, ALL_FOUR_WAIT_FOR_LOCKS)
    for status, output in await asyncio.gather(*map(finish, processes)):
        assert (status, output) == (0, "")
    first, *others = [await snapshot(url) for url in urls]
    assert all(other == first for other in others)
