"""The schema: revisions own tables (alembic/), files own functions, views and rights (sql/).

`upgrade` runs the revisions, each in a transaction of its own, and then installs sql/.
"""

import asyncio
import logging
import re
import time
from typing import Any, NamedTuple

from alembic import command, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from service.database import roles
from service.database.connections import dial
from service.database.roles import OWNER
from service.database.sql_files import SCHEMA, execute
from service.settings import ROOT, read_settings

LOCK = 0x686F6C64  # "hold": the advisory lock of whoever migrates this database

# What may hold a semicolon that ends nothing, then anything else.
TOKENS = re.compile(
    r"""'(?:[^']|'')*'|"[^"]*"|(?<!\w)\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/|.""", re.DOTALL
)
COMMENTS = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

logger = logging.getLogger("holdfast.migrate")

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


class NotOwner(CommandError):
    """The schema is left to another login, which is its owner's."""


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
        execute(op.get_bind(), statement)


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
    roles.create_roles(connection)
    is_new = not connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA})
    if is_new:
        owner = roles.takes(connection, OWNER)
        authorization = f" AUTHORIZATION {OWNER}" if owner else ""
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}{authorization}"))
        if not owner:
            logger.warning("This login may not work as %s: it will own everything itself.", OWNER)
    elif not roles.may_own(connection):
        raise NotOwner("the schema's owner is none that this login may work as")
    roles.give_to_owner(connection)
    roles.set_search_path(connection)
    roles.take_owner(connection)
    connection.execute(text(f"SET search_path = {SCHEMA}, pg_temp"))
    if is_new:
        comment = "Holdfast: stock that cannot be sold twice. Start at invariant_violations."
        connection.execute(text(f"COMMENT ON SCHEMA {SCHEMA} IS '{comment}'"))
    connection.commit()


def drop_schema(connection: Connection) -> None:
    """Leave nothing behind after a downgrade to base; anything not ours stops it."""
    execute(
        connection, f"DROP TABLE IF EXISTS installed_files, alembic_version; DROP SCHEMA {SCHEMA}"
    )
    connection.execute(text("SET ROLE NONE"))
    roles.unset_search_path(connection)
    connection.commit()


def upgrade(url: str) -> None:
    """Bring the database of `url` to the newest schema. Blocks; not for an event loop's thread."""
    command.upgrade(alembic_config(url), "head")


class State(NamedTuple):
    """Which revision a database is at, and which one this release is made for."""

    installed: str
    """Empty: none, the database is not migrated yet."""
    ours: str
    is_known: bool
    """Whether this release has heard of it: else a newer one has made it."""

    def __str__(self) -> str:
        if not self.installed:
            return "the database is not migrated yet"
        if self.installed == self.ours:
            return f"the schema is of this release (revision {self.ours})"
        kind = "an older" if self.is_known else "a newer"
        return (
            f"the schema is of {kind} release (revision {self.installed}), this one is made for "
            f"{self.ours}"
        )


async def state_of(connection: Any) -> State:
    """Where the schema stands, by an asyncpg connection that may read alembic_version."""
    is_there = await connection.fetchval(
        "SELECT count(*) > 0 FROM pg_class WHERE relname = 'alembic_version'"
        " AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'holdfast')"
    )
    version = "SELECT version_num FROM holdfast.alembic_version"
    installed = str(await connection.fetchval(version) or "") if is_there else ""
    scripts = ScriptDirectory.from_config(alembic_config(""))
    known = {script.revision for script in scripts.walk_revisions()}
    return State(installed, scripts.get_current_head() or "", installed in known)


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
