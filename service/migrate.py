"""The schema: revisions own tables (alembic/), files own functions, views and rights (sql/).

`upgrade` runs the revisions and then brings what is installed in line with sql/, in one
transaction, touching only files that changed since (by SHA-256): a service that starts on an
up-to-date database takes no lock on any table.
"""

import asyncio
import hashlib
import logging
import re
import time
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command, op
from alembic.config import Config
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.settings import ROOT, read_settings

SCHEMA = "holdfast"
OWNER = "holdfast_owner"
LOCK = 0x686F6C64  # "hold": the advisory lock of whoever migrates this database
SQL = ROOT / "sql"

logger = logging.getLogger("holdfast.migrate")

INSTALLED_FILES = """
CREATE TABLE IF NOT EXISTS installed_files (
    path text PRIMARY KEY,
    sha256 text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE installed_files IS
    'Which files of sql/ this database holds, so that an upgrade touches only what changed.';
COMMENT ON COLUMN installed_files.path IS 'The file, below sql/.';
COMMENT ON COLUMN installed_files.sha256 IS 'Of its content when it was installed.';
COMMENT ON COLUMN installed_files.installed_at IS 'When that was.';
"""

DROP_OBJECTS = """
DO $$
DECLARE
    v_object text;
BEGIN
    FOR v_object IN
        SELECT format('VIEW %s', c.oid::regclass) FROM pg_class AS c
        WHERE c.relnamespace = 'holdfast'::regnamespace AND c.relkind = 'v'
        UNION ALL
        SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc AS p
        WHERE p.pronamespace = 'holdfast'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e'
        )
    LOOP
        EXECUTE format('DROP %s CASCADE', v_object);
    END LOOP;
END $$;
DROP TABLE IF EXISTS installed_files;
"""


def create_owner_engine(url: str | None = None) -> AsyncEngine:
    """An engine for schema work on `url`, by default the one the settings name."""
    settings = read_settings()
    dsn = url or settings.owner_url
    if not dsn:
        raise SystemExit("Set HOLDFAST_DATABASE_URL, or use: python -m service migrate")
    return create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: asyncpg.connect(dsn, timeout=10),
    )


def run_script(script: str) -> None:
    """Run a revision's SQL, any number of statements, as it is written."""
    _execute(op.get_bind(), script)


def revert_script(script: str) -> None:
    """Take a revision back, after all that sql/ made on its tables."""
    _execute(op.get_bind(), DROP_OBJECTS + script)


def prepare_database(connection: Connection) -> None:
    """Make roles and schema where they are missing, and work as the owner from here on."""
    _create_roles(connection)
    roles = "SELECT rolname FROM pg_roles WHERE rolname = :owner AND pg_has_role(oid, 'MEMBER')"
    may_own = connection.scalar(text(roles), {"owner": OWNER})
    if not connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}):
        owner = f" AUTHORIZATION {OWNER}" if may_own else ""
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}{owner}"))
        comment = "Holdfast: stock that cannot be sold twice. Start at invariant_violations."
        connection.execute(text(f"COMMENT ON SCHEMA {SCHEMA} IS '{comment}'"))
    if may_own:
        connection.execute(text(f"SET ROLE {OWNER}"))
    connection.execute(text(f"SET search_path = {SCHEMA}, pg_temp"))
    connection.commit()


def _create_roles(connection: Connection) -> None:
    """Run roles.sql; go on without where this login may not create roles, saying what is missing.

    Roles belong to the cluster, our lock to one database: two databases may be migrated at once,
    and the loser of the race between them tries again.
    """
    script = (SQL / "roles" / "roles.sql").read_text()
    for attempt in range(20):
        try:
            _execute(connection, script)
            connection.commit()
            return
        except DBAPIError as error:
            connection.rollback()
            state = getattr(error.orig, "sqlstate", None)
            if state == "42501":
                logger.warning(
                    "This login may not create roles (%s). Going on without; an administrator "
                    "can run sql/roles/roles.sql, then migrate again.",
                    str(error.orig).partition(": ")[2],
                )
                return
            if state not in {"XX000", "23505", "42710"} or attempt == 19:
                raise
            time.sleep(0.05 * (attempt + 1))


def install_objects(connection: Connection) -> list[str]:
    """Bring functions, triggers, views and rights in line with sql/; return the paths touched."""
    files = {path: (SQL / path).read_text() for path in manifest()}
    hashes = {path: hashlib.sha256(body.encode()).hexdigest() for path, body in files.items()}
    _execute(connection, INSTALLED_FILES)
    rows = connection.execute(text("SELECT path, sha256 FROM installed_files"))
    installed = {row.path: row.sha256 for row in rows}
    changed = [path for path in files if installed.get(path) != hashes[path]]
    removed = [path for path in installed if path not in files]
    if changed or removed:
        views = [path for path in files if is_view(files[path])]
        if any(path in views for path in changed) or removed:
            # A view cannot change its columns, and may stand on another: all go, all come back.
            for path in reversed(views):
                _execute(connection, f"DROP VIEW IF EXISTS {Path(path).stem} CASCADE")
            changed = [path for path in files if path in changed or path in views]
        for path in removed:
            _drop_object(connection, Path(path).stem)
        for path in files:
            if path in changed or path.startswith("roles/"):
                _execute(connection, files[path])
        _drop_stale_triggers(connection, "\n".join(files.values()))
        connection.execute(
            text("DELETE FROM installed_files WHERE path = ANY (:paths)"),
            {"paths": changed + removed},
        )
        connection.execute(
            text("INSERT INTO installed_files (path, sha256) VALUES (:path, :sha256)"),
            [{"path": path, "sha256": hashes[path]} for path in changed],
        ) if changed else None
        logger.info("sql/ installed: %d changed, %d removed", len(changed), len(removed))
    connection.commit()
    return changed + removed


def drop_schema(connection: Connection) -> None:
    """Leave nothing behind after a downgrade to base; anything not ours stops it."""
    _execute(connection, "DROP TABLE IF EXISTS installed_files, alembic_version")
    _execute(connection, f"RESET ROLE; DROP SCHEMA {SCHEMA}")
    connection.commit()


def manifest() -> list[str]:
    """The files of sql/, in the order of their installation."""
    lines = (SQL / "manifest.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_view(body: str) -> bool:
    """Whether a file of sql/ makes a view."""
    return body.startswith("CREATE VIEW")


def _drop_object(connection: Connection, name: str) -> None:
    if connection.scalar(text("SELECT to_regproc(:name)"), {"name": name}):
        _execute(connection, f"DROP FUNCTION {name} CASCADE")
    else:
        _execute(connection, f"DROP VIEW IF EXISTS {name} CASCADE")


def _drop_stale_triggers(connection: Connection, all_files: str) -> None:
    wanted = set(re.findall(r"CREATE OR REPLACE TRIGGER (\w+)\s[^;]*?\bON (\w+)", all_files))
    rows = connection.execute(
        text(
            "SELECT tgname, tgrelid::regclass::text AS relation FROM pg_trigger"
            " JOIN pg_class ON pg_class.oid = tgrelid"
            " WHERE NOT tgisinternal AND relnamespace = to_regnamespace('holdfast')"
        )
    )
    for name, relation in rows.all():
        if (name, relation) not in wanted:
            _execute(connection, f"DROP TRIGGER {name} ON {relation}")


def _execute(connection: Connection, script: str) -> None:
    """Run a script in the connection's transaction, by the protocol that takes it whole.

    The empty statement first, because SQLAlchemy begins a transaction only with its own execute.
    """
    connection.exec_driver_sql("")
    driver: Any = connection.connection.dbapi_connection
    try:
        driver.run_async(lambda raw: raw.execute(script))
    except asyncpg.PostgresError as error:
        raise DBAPIError.instance(script[:200], None, error, Exception) from error


def upgrade(url: str) -> None:
    """Bring the database of `url` to the newest schema. Blocks; not for an event loop's thread."""
    command.upgrade(alembic_config(url), "head")


def downgrade(url: str, revision: str) -> None:
    """Take the database of `url` back to `revision`, or to "base", where nothing is left."""
    command.downgrade(alembic_config(url), revision)


def alembic_config(url: str) -> Config:
    """Alembic's own settings, pointed at `url`."""
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


async def upgrade_in_thread(url: str) -> None:
    """`upgrade` for callers with a running event loop."""
    await asyncio.to_thread(upgrade, url)
