"""sql/ is installed as the files say: what changed, all of it or nothing, and nothing else."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from service.database import migrate, sql_files
from service.settings import ROOT
from tests.support.aliases import NewDatabase
from tests.support.snapshots import fetch, fetch_snapshot, snapshot

# When each row came to be. Nothing that an upgrade leaves alone gets a new one.
ROW_VERSIONS = " UNION ALL ".join(
    f"SELECT '{table}', tableoid::text || ctid::text, xmin::text FROM {table}"
    for table in (
        *("pg_proc", "pg_class", "pg_trigger", "pg_description", "pg_rewrite", "pg_depend"),
        *("holdfast.installed_files", "holdfast.alembic_version"),
    )
)

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


def add_file(sql_folder: Path, path: str, body: str, before: str = "roles/grants.sql") -> None:
    """A new file of sql/, listed in the manifest before another."""
    (sql_folder / path).write_text(body)
    manifest = sql_folder / "manifest.txt"
    manifest.write_text(manifest.read_text().replace(f"\n{before}\n", f"\n{path}\n{before}\n"))
    assert path in sql_files.manifest()


def remove_file(sql_folder: Path, path: str) -> None:
    (sql_folder / path).unlink()
    manifest = sql_folder / "manifest.txt"
    manifest.write_text(manifest.read_text().replace(f"\n{path}\n", "\n"))


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
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = $1"
    schema = await other.fetchval("SELECT 'holdfast'::regnamespace::oid")
    async with other.transaction():
        for row in await other.fetch(tables, schema):
            ours = row["relname"] in ("installed_files", "alembic_version")
            # EXCLUSIVE lets others read, and nothing else.
            mode = "EXCLUSIVE" if ours else "ACCESS EXCLUSIVE"
            await other.execute(f"LOCK TABLE holdfast.{row['relname']} IN {mode} MODE")
        async with asyncio.timeout(10):
            await migrate.upgrade_in_thread(url)
    await other.close()
    assert set(await fetch(url, ROW_VERSIONS)) == before


def test_every_file_is_named_as_the_one_object_it_makes() -> None:
    paths = {path.relative_to(sql_files.SQL).as_posix() for path in sql_files.SQL.glob("**/*.sql")}
    assert set(sql_files.manifest()) == paths - {"roles/roles.sql", "roles/logins.sql"}
    assert len(set(sql_files.manifest())) == len(sql_files.manifest())
    for path in paths:
        if not path.startswith("roles/"):
            body = (sql_files.SQL / path).read_text()
            name = Path(path).stem
            assert body.startswith((f"CREATE OR REPLACE FUNCTION {name}(", f"CREATE VIEW {name} "))
            made = re.findall(r"^CREATE (?:OR REPLACE )?(\w+) (\w+)", body, re.M)
            assert [name for kind, name in made if kind not in ("TRIGGER", "CONSTRAINT")] == [name]


async def test_the_catalogs_hold_what_the_files_say(made: str) -> None:
    bodies = [(sql_files.SQL / path).read_text() for path in sql_files.manifest()]
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
    for path in sql_files.manifest():
        body = (sql_folder / path).read_text()
        if sql_files.is_view(body):
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
    sql_files.SQL = ROOT / "sql"
    await migrate.upgrade_in_thread(url)
    assert await snapshot(url) == reference
    paths = await fetch(url, "SELECT path FROM holdfast.installed_files")
    assert {path for (path,) in paths} == set(sql_files.manifest())


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
