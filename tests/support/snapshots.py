"""What a database holds, as its catalogs tell it."""

import asyncio
from typing import Any

import asyncpg

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
    # Whatever the database's own search_path is: names outside of it are told in full.
    connection = await asyncpg.connect(url, server_settings={"search_path": "public"})
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
