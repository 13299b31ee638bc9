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
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.database.connections import dial
from service.settings import ROOT, read_settings

SCHEMA = "holdfast"
OWNER = "holdfast_owner"
ROLES = [OWNER, "holdfast_service", "holdfast_worker", "holdfast_reader"]
LOCK = 0x686F6C64  # "hold": the advisory lock of whoever migrates this database
SQL = ROOT / "sql"

# What may hold a semicolon that ends nothing, then anything else.
TOKENS = re.compile(
    r"""'(?:[^']|'')*'|"[^"]*"|(?<!\w)\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/|.""", re.DOTALL
)
COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

logger = logging.getLogger("holdfast.migrate")

# Roles that SET ROLE may name: since PostgreSQL 16 one can be a member without that right.
ROLES_TO_TAKE = """
SELECT quote_ident(rolname) FROM pg_roles WHERE pg_has_role(oid,
    CASE WHEN CAST(current_setting('server_version_num') AS int) < 160000
        THEN 'MEMBER' ELSE 'SET' END)
"""

INSTALLED_FILES = """
CREATE TABLE installed_files (
    path text PRIMARY KEY,
    sha256 text NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE installed_files IS
    'Which files of sql/ this database holds, so that an upgrade touches only what changed.';
COMMENT ON COLUMN installed_files.path IS 'The file, below sql/.';
COMMENT ON COLUMN installed_files.sha256 IS
    'Of its content when it was installed; of rights also of the roles there were.';
COMMENT ON COLUMN installed_files.installed_at IS 'When that was.';
COMMENT ON TABLE alembic_version IS 'Which revision of the tables this database is at.';
COMMENT ON COLUMN alembic_version.version_num IS 'The revision; see alembic/versions/.';
"""

# Views together, because one may stand on another. Functions take their triggers along, so all
# are named before the first goes. Rights are of sql/, too.
DROP_OBJECTS = """
DO $$
DECLARE
    v_views text := (
        SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
        WHERE relnamespace = 'holdfast'::regnamespace AND relkind = 'v'
    );
    v_function text;
    v_role text;
BEGIN
    IF v_views IS NOT NULL THEN EXECUTE 'DROP VIEW ' || v_views; END IF;
    FOREACH v_function IN ARRAY ARRAY(
        SELECT p.oid::regprocedure FROM pg_proc AS p
        WHERE p.pronamespace = 'holdfast'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e'
        )
    ) LOOP
        EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', v_function);
    END LOOP;
    FOR v_role IN
        SELECT rolname FROM pg_roles
        WHERE rolname IN ('holdfast_service', 'holdfast_worker', 'holdfast_reader')
    LOOP
        EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA holdfast FROM %I', v_role);
        EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA holdfast FROM %I', v_role);
        EXECUTE format('REVOKE ALL ON SCHEMA holdfast FROM %I', v_role);
    END LOOP;
END $$;
DROP TABLE IF EXISTS installed_files;
"""

# What a login does itself, and not as the schema's owner, whom it has taken the role of.
AS_LOGIN = """
SELECT set_config('holdfast.owner', current_user, true);
SET ROLE NONE;
{};
SELECT set_config('role', current_setting('holdfast.owner'), false);
"""

DROP_EXTENSION = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_extension
        WHERE extname = '{0}' AND pg_has_role(extowner, 'USAGE')) THEN
        DROP EXTENSION {0};
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    NULL;
END $$
"""

NO_CONTRIB = (
    "PostgreSQL's server has no extension {}: install what it calls contrib (Debian and Docker's "
    "image have it), then migrate again."
)


def create_owner_engine(url: str | None = None) -> AsyncEngine:
    """An engine for schema work on `url`, by default the one the settings name."""
    dsn = url or read_settings().owner_url
    if not dsn:
        raise SystemExit("Set HOLDFAST_DATABASE_URL, or use: python -m service migrate")
    return create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: dial(dsn),
    )


def run_script(script: str) -> None:
    """Run a revision's SQL as it is written, statement by statement."""
    for statement in split_script(script):
        _execute(op.get_bind(), statement)


def revert_script(script: str) -> None:
    """Take a revision back, after all that sql/ made on its tables."""
    run_script(DROP_OBJECTS + script)


def split_script(script: str) -> list[str]:
    """The statements of a script: a distributed engine takes one at a time."""
    parts = [""]
    for token in TOKENS.finditer(script):
        if token[0] == ";":
            parts.append("")
        else:
            parts[-1] += token[0]
    return [part.strip() for part in parts if COMMENTS.sub("", part).strip()]


def create_extension(name: str) -> str:
    """Have an extension of contrib, in schema public, where nothing of ours mixes with it.

    The login makes it, not the schema's owner, who need not be allowed to: our extensions are
    trusted, so CREATE on the database is enough. One that is there already is taken as it is.
    Returns the schema that it is in, quoted.
    """
    try:
        run_script(AS_LOGIN.format(f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public"))
    except DBAPIError as error:
        problem = {
            "42501": f"This login may not make the extension {name}. An administrator can, in this "
            f"database: CREATE EXTENSION {name} SCHEMA public. Then migrate again.",
            "58P01": NO_CONTRIB.format(name),  # until PostgreSQL 15
            "0A000": NO_CONTRIB.format(name),
        }.get(getattr(error.orig, "sqlstate", ""))
        if not problem:
            raise
        raise CommandError(problem) from error
    schema = "SELECT CAST(CAST(extnamespace AS regnamespace) AS text) FROM pg_extension"
    return str(op.get_bind().scalar(text(f"{schema} WHERE extname = :name"), {"name": name}))


def drop_extension(name: str) -> None:
    """Take an extension away where it is the login's and nothing else needs it."""
    run_script(AS_LOGIN.format(DROP_EXTENSION.format(name)))


def lock_database(connection: Connection) -> None:
    """Wait until nobody else migrates this database; the lock ends with the connection.

    Asked for again and again: whoever waits inside a statement holds a snapshot, and the CREATE
    INDEX CONCURRENTLY of the one who has the lock would wait for that in turn.
    """
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}):
        connection.rollback()
        time.sleep(0.1)
    connection.commit()


def prepare_database(connection: Connection) -> None:
    """Make roles and schema where they are missing; from here on work as the schema's owner."""
    _create_roles(connection)
    is_new = not connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA})
    if is_new:
        owner = connection.scalar(text(f"{ROLES_TO_TAKE} AND rolname = '{OWNER}'"))
        authorization = f" AUTHORIZATION {owner}" if owner else ""
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}{authorization}"))
        if not owner:
            logger.warning("This login may not work as %s: it will own everything itself.", OWNER)
    schema_owner = f"SELECT nspowner FROM pg_namespace WHERE nspname = '{SCHEMA}'"
    if owner := connection.scalar(text(f"{ROLES_TO_TAKE} AND oid = ({schema_owner})")):
        connection.execute(text(f"SET ROLE {owner}"))
    connection.execute(text(f"SET search_path = {SCHEMA}, pg_temp"))
    if is_new:
        comment = "Holdfast: stock that cannot be sold twice. Start at invariant_violations."
        connection.execute(text(f"COMMENT ON SCHEMA {SCHEMA} IS '{comment}'"))
    connection.commit()


def _create_roles(connection: Connection) -> None:
    """Run roles.sql; go on without where this login may not create roles, saying what is missing.

    Roles belong to the cluster, our lock to one database: two databases may be migrated at once,
    and the loser of the race between them tries again.
    """
    script = (SQL / "roles" / "roles.sql").read_text("utf-8")
    for attempt in range(20):
        missing = set(ROLES) - set(_existing_roles(connection))
        try:
            if missing:
                _execute(connection, script)
            connection.commit()
            return
        except DBAPIError as error:
            connection.rollback()
            state = getattr(error.orig, "sqlstate", None)
            if state == "42501":
                logger.warning(
                    "There is no %s, and this login may not create roles. Going on without; an "
                    "administrator can run sql/roles/roles.sql, then migrate again.",
                    ", ".join(sorted(missing)),
                )
                return
            if state not in {"XX000", "23505", "42710"} or attempt == 19:
                raise
            time.sleep(0.05 * (attempt + 1))


def _existing_roles(connection: Connection) -> list[str]:
    roles = "SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles) ORDER BY rolname"
    return list(connection.scalars(text(roles), {"roles": ROLES}))


def install_objects(connection: Connection) -> list[str]:
    """Bring functions, triggers, views and rights in line with sql/; return the paths touched.

    Where something that is not ours stands on a view or function that has to go, this fails and
    says what it is.
    """
    if not connection.scalar(text("SELECT to_regclass('installed_files')")):
        _execute(connection, INSTALLED_FILES)
    files = {path: (SQL / path).read_text("utf-8") for path in manifest()}
    hashes = {path: _hash(connection, path, body) for path, body in files.items()}
    rows = connection.execute(text("SELECT path, sha256 FROM installed_files"))
    installed = {row.path: row.sha256 for row in rows}
    changed = [path for path in files if installed.get(path) != hashes[path]]
    removed = [path for path in installed if path not in files]
    if changed or removed:
        gone = {Path(path).stem for path in removed} - {Path(path).stem for path in files}
        views = [path for path in files if is_view(files[path])]
        there = "SELECT viewname FROM pg_views WHERE schemaname = :schema"
        ours = gone | {Path(path).stem for path in views}
        standing = ours.intersection(connection.scalars(text(there), {"schema": SCHEMA}))
        if gone & standing or any(path in views for path in changed):
            # A view cannot change its columns, and may stand on another: all go, all come back.
            if standing:
                _execute(connection, f"DROP VIEW {', '.join(standing)}")
            changed = [path for path in files if path in changed or path in views]
        for path in files:
            if path in changed or path.startswith("roles/"):
                _execute(connection, files[path])
        _drop_stale_triggers(connection, "\n".join(files.values()))
        _drop_functions(connection, gone)
        connection.execute(
            text("DELETE FROM installed_files WHERE path = ANY (:paths)"),
            {"paths": changed + removed},
        )
        if changed:
            connection.execute(
                text("INSERT INTO installed_files (path, sha256) VALUES (:path, :sha256)"),
                [{"path": path, "sha256": hashes[path]} for path in changed],
            )
        logger.info("sql/ installed: %d changed, %d removed", len(changed), len(removed))
    connection.commit()
    return changed + removed


def drop_schema(connection: Connection) -> None:
    """Leave nothing behind after a downgrade to base; anything not ours stops it."""
    _execute(
        connection, f"DROP TABLE IF EXISTS installed_files, alembic_version; DROP SCHEMA {SCHEMA}"
    )
    connection.commit()


def manifest() -> list[str]:
    """The files of sql/, in the order of their installation."""
    lines = (SQL / "manifest.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_view(body: str) -> bool:
    """Whether a file of sql/ makes a view."""
    return body.startswith("CREATE VIEW")


def _hash(connection: Connection, path: str, body: str) -> str:
    """Of a file; rights also depend on which roles there are, which may change without us."""
    roles = " ".join(_existing_roles(connection)) if path.startswith("roles/") else ""
    return hashlib.sha256((body + roles).encode()).hexdigest()


def _drop_functions(connection: Connection, names: set[str]) -> None:
    functions = text(
        "SELECT CAST(CAST(oid AS regprocedure) AS text) FROM pg_proc"
        " WHERE pronamespace = to_regnamespace(:schema) AND proname = ANY (:names)"
    )
    for name in connection.scalars(functions, {"schema": SCHEMA, "names": list(names)}).all():
        _execute(connection, f"DROP ROUTINE {name}")


def _drop_stale_triggers(connection: Connection, all_files: str) -> None:
    made = r"CREATE (?:OR REPLACE |CONSTRAINT )?TRIGGER (\w+)\s[^;]*?\bON (\w+)"
    wanted = set(re.findall(made, all_files))
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
