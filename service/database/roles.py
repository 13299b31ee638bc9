"""Roles: which there are, what each may do here, and what an installation lacks of that."""

import logging
import re
import time
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from service.database.sql_files import SCHEMA, execute, read_file

OWNER = "holdfast_owner"
ROLES = [OWNER, "holdfast_service", "holdfast_worker", "holdfast_reader"]
MEND = "python -m service migrate"
BY_HAND = f"{MEND} --sql-roles"

# Roles that SET ROLE may name: since PostgreSQL 16 one can be a member without that right.
TAKES = """
SELECT count(*) > 0 FROM pg_roles WHERE rolname = :role AND pg_has_role(oid,
    CASE WHEN CAST(current_setting('server_version_num') AS int) < 160000
        THEN 'MEMBER' ELSE 'SET' END)
"""

SCHEMA_OWNER = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = :schema"

# Objects of ours that are another's, as a dump leaves them that was restored where there was no
# such role. What belongs to an extension, or comes along with a table, is left out.
STRANGERS = """
SELECT format('SCHEMA %I', nspname) AS object FROM pg_namespace
WHERE nspname = 'holdfast' AND pg_get_userbyid(nspowner) <> 'holdfast_owner'
UNION ALL
SELECT format('%s %s', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
    oid::regclass)
FROM pg_class AS c
WHERE relnamespace = to_regnamespace('holdfast') AND relkind IN ('r', 'p', 'v', 'S')
    AND pg_get_userbyid(relowner) <> 'holdfast_owner' AND NOT EXISTS (
        SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype IN ('a', 'e', 'i')
            AND d.classid = 'pg_class'::regclass AND d.refclassid <> 'pg_namespace'::regclass)
UNION ALL
SELECT format('ROUTINE %s', oid::regprocedure) FROM pg_proc AS p
WHERE pronamespace = to_regnamespace('holdfast') AND pg_get_userbyid(proowner) <> 'holdfast_owner'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT format('TYPE %s', oid::regtype) FROM pg_type
WHERE typnamespace = to_regnamespace('holdfast') AND typtype = 'e'
    AND pg_get_userbyid(typowner) <> 'holdfast_owner'
"""

# What grants.sql lists and a role has not.
MISSING_RIGHTS = """
SELECT r.role, r.privilege, r.kind, r.name
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS r (role, privilege, kind, name)
JOIN pg_roles AS who ON who.rolname = r.role
LEFT JOIN pg_namespace AS n ON n.nspname = 'holdfast'
LEFT JOIN pg_proc AS p ON r.kind = 'FUNCTION' AND p.pronamespace = n.oid AND p.proname = r.name
LEFT JOIN pg_class AS c ON r.kind = 'TABLE' AND c.relnamespace = n.oid AND c.relname = r.name
WHERE NOT COALESCE(CASE r.kind
    WHEN 'SCHEMA' THEN has_schema_privilege(who.oid, n.oid, r.privilege)
    WHEN 'FUNCTION' THEN has_function_privilege(who.oid, p.oid, r.privilege)
    ELSE has_table_privilege(who.oid, c.oid, r.privilege) END, false)
"""
RIGHT = re.compile(r"\('(\w+)',\s+'(\w+)',\s+'(\w+) (\w+)'\)")

SEARCH_PATH = """
SELECT quote_ident(d.datname) AS name, pg_has_role(d.datdba, 'USAGE') AS is_ours,
    COALESCE((
        SELECT substr(setting, length('search_path=') + 1)
        FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting
        WHERE s.setdatabase = d.oid AND s.setrole = 0 AND setting LIKE 'search_path=%'
    ), '') AS path
FROM pg_database AS d WHERE d.datname = current_database()
"""
USUAL_PATH = '"$user", public'

logger = logging.getLogger("holdfast.migrate")


def listed_rights() -> list[tuple[str, ...]]:
    """The rights of grants.sql: role, privilege, kind and name of the object."""
    return [found.groups() for found in RIGHT.finditer(read_file("roles/grants.sql"))]


async def shortcomings(connection: Any) -> list[str]:
    """Which roles and rights are missing here, a sentence each, and how to mend it; else nothing.

    By an asyncpg connection of any role: it only looks into the catalogs.
    """
    there = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)", ROLES)
    missing = sorted(set(ROLES) - {row["rolname"] for row in there})
    said = [f"There is no role {role}." for role in missing]
    if OWNER not in missing and (strangers := await connection.fetch(STRANGERS)):
        example = strangers[0]["object"]
        said.append(f"{len(strangers)} objects are not {OWNER}'s, such as {example}.")
    rights = await connection.fetch(MISSING_RIGHTS, *map(list, zip(*listed_rights(), strict=True)))
    for role in sorted({row["role"] for row in rights}):
        lacks = [row for row in rights if row["role"] == role]
        example = "{privilege} on {kind} {name}".format(**lacks[0])
        said.append(f"{role} lacks {len(lacks)} rights, such as {example}.")
    if said:
        said.append(f"To mend it: {MEND}; what an administrator has to do: {BY_HAND}")
    return said


def create_roles(connection: Connection) -> None:
    """Run roles.sql; go on without where this login may not create roles, saying what is missing.

    Roles belong to the cluster, our lock to one database: two databases may be migrated at once,
    and the loser of the race between them tries again.
    """
    for attempt in range(20):
        missing = set(ROLES) - set(existing_roles(connection))
        try:
            if missing:
                execute(connection, read_file("roles/roles.sql"))
            connection.commit()
            return
        except DBAPIError as error:
            connection.rollback()
            state = getattr(error.orig, "sqlstate", None)
            if state == "42501":
                logger.warning(
                    "There is no %s, and this login may not create roles. Going on without; what "
                    "an administrator has to run: %s. Then migrate again.",
                    ", ".join(sorted(missing)),
                    BY_HAND,
                )
                return
            if state not in {"XX000", "23505", "42710"} or attempt == 19:
                raise
            time.sleep(0.05 * (attempt + 1))


def existing_roles(connection: Connection) -> list[str]:
    """Which of our roles this cluster has."""
    roles = "SELECT rolname FROM pg_roles WHERE rolname = ANY (:roles) ORDER BY rolname"
    return list(connection.scalars(text(roles), {"roles": ROLES}))


def takes(connection: Connection, role: str) -> bool:
    """Whether there is such a role and this login may work as it."""
    return bool(connection.scalar(text(TAKES), {"role": role}))


def may_own(connection: Connection) -> bool:
    """Whether this login may work as the schema's owner, whoever that is."""
    return takes(connection, str(connection.scalar(text(SCHEMA_OWNER), {"schema": SCHEMA})))


def take_owner(connection: Connection) -> None:
    """Work as the schema's owner, where this login may."""
    role = connection.scalar(text(SCHEMA_OWNER), {"schema": SCHEMA})
    if role and takes(connection, role):
        connection.execute(text("SELECT set_config('role', :role, false)"), {"role": role})


def give_to_owner(connection: Connection) -> None:
    """Make objects of ours that are another's the owner's, where this login may."""
    if not takes(connection, OWNER):
        return
    strangers = list(connection.scalars(text(STRANGERS)))
    try:
        for stranger in strangers:
            execute(connection, f"ALTER {stranger} OWNER TO {OWNER}")
        connection.commit()
    except DBAPIError as error:
        connection.rollback()
        if getattr(error.orig, "sqlstate", None) != "42501":
            raise
        logger.warning(
            "%d objects are not %s's, and this login may not give them: %s",
            len(strangers),
            OWNER,
            error.orig,
        )


def set_search_path(connection: Connection) -> None:
    """Let plain sessions of this database, such as a DBA's psql, find our schema, after theirs.

    A template's copy and a restored dump have lost it: each migration looks.
    """
    row = connection.execute(text(SEARCH_PATH)).one()
    if SCHEMA in _names(row.path):
        return
    if not row.is_ours:
        logger.warning(
            "This login may not set the database's search_path: plain sessions of psql have to say "
            "%s.stock_levels, and so on. Its owner can: ALTER DATABASE %s SET search_path = %s, %s",
            *(SCHEMA, row.name, USUAL_PATH, SCHEMA),
        )
        return
    path = f"{row.path or USUAL_PATH}, {SCHEMA}"
    execute(connection, f"ALTER DATABASE {row.name} SET search_path = {path}")
    connection.commit()


def unset_search_path(connection: Connection) -> None:
    """Take our schema out of the search_path of plain sessions."""
    row = connection.execute(text(SEARCH_PATH)).one()
    names = _names(row.path)
    if SCHEMA not in names or not row.is_ours:
        return
    rest = ", ".join(name for name in names if name != SCHEMA)
    change = "RESET search_path" if rest == USUAL_PATH else f"SET search_path = {rest}"
    execute(connection, f"ALTER DATABASE {row.name} {change}")


def _names(path: str) -> list[str]:
    """The schemas of a search_path, quoted as they are."""
    return [name.strip() for name in path.split(",") if name.strip()]
