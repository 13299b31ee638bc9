"""Install sql/: bring functions, triggers, views and rights in line with the files.

Only what changed since is touched (by SHA-256), in one transaction, so that a service that starts
on an up-to-date database takes no lock on any table.
"""

import hashlib
import logging
import re
from pathlib import Path

from sqlalchemy import Connection, text

from service.database import sql_files
from service.database.roles import existing_roles
from service.database.sql_files import SCHEMA, execute, is_view, manifest

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
    'Of its content when it was installed; of rights also of what every role could do then.';
COMMENT ON COLUMN installed_files.installed_at IS 'When that was.';
COMMENT ON TABLE alembic_version IS 'Which revision of the tables this database is at.';
COMMENT ON COLUMN alembic_version.version_num IS 'The revision; see alembic/versions/.';
"""

# Who owns what and who may do what: a dump restored elsewhere may have lost it.
RIGHTS = """
SELECT COALESCE(string_agg(line, E'\\n' ORDER BY line COLLATE "C"), '') FROM (
    SELECT concat_ws(' ', nspname, nspowner::regrole, nspacl::text) AS line
    FROM pg_namespace WHERE nspname = :schema
    UNION ALL
    SELECT concat_ws(' ', relname, relowner::regrole, relacl::text)
    FROM pg_class WHERE relnamespace = to_regnamespace(:schema)
    UNION ALL
    SELECT concat_ws(' ', proname, proowner::regrole, proacl::text)
    FROM pg_proc WHERE pronamespace = to_regnamespace(:schema)
) AS lines
"""

logger = logging.getLogger("holdfast.migrate")


def install_objects(connection: Connection) -> list[str]:
    """Bring functions, triggers, views and rights in line with sql/; return the paths touched.

    Where something that is not ours stands on a view or function that has to go, this fails and
    says what it is.
    """
    if not connection.scalar(text("SELECT to_regclass('installed_files')")):
        execute(connection, INSTALLED_FILES)
    files = {path: sql_files.read_file(path) for path in manifest()}
    rows = connection.execute(text("SELECT path, sha256 FROM installed_files"))
    installed = {row.path: row.sha256 for row in rows}
    changed = [
        path for path, body in files.items() if installed.get(path) != _hash(connection, path, body)
    ]
    removed = [path for path in installed if path not in files]
    if changed or removed:
        gone = {Path(path).stem for path in removed} - {Path(path).stem for path in files}
        changed = _drop_views(connection, files, changed, gone)
        for path in files:
            if path in changed or path.startswith("roles/"):
                execute(connection, files[path])
        if not all(path.startswith("roles/") for path in changed + removed):
            _drop_stale_triggers(connection, "\n".join(files.values()))
        _drop_functions(connection, gone)
        _note(connection, {path: files[path] for path in changed}, removed)
        logger.info("sql/ installed: %d changed, %d removed", len(changed), len(removed))
    connection.commit()
    return changed + removed


def _hash(connection: Connection, path: str, body: str) -> str:
    """Of a file; of rights also of which roles there are and what they may do."""
    if path.startswith("roles/"):
        body += " ".join(existing_roles(connection))
        body += connection.scalar(text(RIGHTS), {"schema": SCHEMA}) or ""
    return hashlib.sha256(body.encode()).hexdigest()


def _note(connection: Connection, made: dict[str, str], removed: list[str]) -> None:
    """Write down what is installed now, and what is no more."""
    # Rights depend on objects made before, and are given anew whenever anything was made.
    made |= {path: sql_files.read_file(path) for path in manifest() if path.startswith("roles/")}
    connection.execute(
        text("DELETE FROM installed_files WHERE path = ANY (:paths)"), {"paths": removed}
    )
    connection.execute(
        text(
            "INSERT INTO installed_files AS f (path, sha256) VALUES (:path, :sha256)"
            " ON CONFLICT (path) DO UPDATE SET sha256 = excluded.sha256,"
            " installed_at = excluded.installed_at WHERE f.sha256 <> excluded.sha256"
        ),
        [{"path": path, "sha256": _hash(connection, path, body)} for path, body in made.items()],
    )


def _drop_views(
    connection: Connection, files: dict[str, str], changed: list[str], gone: set[str]
) -> list[str]:
    """Drop all views where one changed or goes; return what then has to be made, in order.

    A view cannot change its columns, and may stand on another: all go, all come back.
    """
    views = [path for path in files if is_view(files[path])]
    there = "SELECT viewname FROM pg_views WHERE schemaname = :schema"
    ours = gone | {Path(path).stem for path in views}
    standing = ours.intersection(connection.scalars(text(there), {"schema": SCHEMA}))
    if not (gone & standing or any(path in views for path in changed)):
        return changed
    if standing:
        execute(connection, f"DROP VIEW {', '.join(standing)}")
    return [path for path in files if path in changed or path in views]


def _drop_functions(connection: Connection, names: set[str]) -> None:
    functions = text(
        "SELECT CAST(CAST(oid AS regprocedure) AS text) FROM pg_proc"
        " WHERE pronamespace = to_regnamespace(:schema) AND proname = ANY (:names)"
    )
    for name in connection.scalars(functions, {"schema": SCHEMA, "names": list(names)}).all():
        execute(connection, f"DROP ROUTINE {name}")


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
            execute(connection, f"DROP TRIGGER {name} ON {relation}")
