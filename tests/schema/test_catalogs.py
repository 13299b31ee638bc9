"""The rules of the house, read from the catalogs; each is also shown to catch who breaks it."""

import asyncio
import re
import secrets
import sys
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import asyncpg
import pytest

from service.database import sql_files
from service.database.connections import connected
from service.database.roles import OWNER
from service.settings import ROOT
from tests.support.processes import environment
from tests.support.servers import with_database

ROLES = ("holdfast_service", "holdfast_worker", "holdfast_reader")

TABLES = """
tables AS (
    SELECT oid, relname::text AS name, relowner, relkind FROM pg_class
    WHERE relnamespace = 'holdfast'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
)"""
COLUMNS = """
columns AS (
    SELECT t.name AS table_name, t.relkind, a.attname::text AS name, a.*
    FROM tables AS t JOIN pg_attribute AS a ON attrelid = t.oid
    WHERE attnum > 0 AND NOT attisdropped AND t.relkind <> 'S'
)"""
# What belongs to an extension is not ours to name or to describe.
FUNCTIONS = """
functions AS (
    SELECT p.*, proname::text AS name, prorettype = 'trigger'::regtype AS is_trigger
    FROM pg_proc AS p
    WHERE pronamespace = 'holdfast'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
)"""
KEYS = """
keys AS (
    -- Every unique index: of a primary key, of a unique constraint, or by itself.
    SELECT i.indexrelid::regclass::text AS name, i.indrelid AS relation, i.indkey[0] AS first
    FROM pg_index AS i WHERE i.indisunique
    UNION ALL
    SELECT conname, conrelid, conkey[1] FROM pg_constraint WHERE contype IN ('f', 'x')
    UNION ALL
    SELECT conname || ' (referenced)', confrelid, confkey[1] FROM pg_constraint WHERE contype = 'f'
)"""
VIEWS_OF_THE_CATALOGS = f"WITH {TABLES}, {COLUMNS}, {FUNCTIONS}, {KEYS}"

# Alembic's table and the list of installed files are about the database, not about a store.
WITHOUT_STORE = "('installed_files', 'alembic_version')"
# They format a moment, say who and why, name a constant or judge what they are given, and touch
# no table; one lists the stores. What begins with find_ looks for the worker which of all stores
# have something to do.
WITHOUT_STORE_PARAMETER = """(
    'booking_state',
    'event_types',
    'finite_time',
    'idempotency_period',
    'judge_booking',
    'judge_hours',
    'list_stores',
    'most_items',
    'order_lifetime',
    'order_state',
    'phone_digits',
    'refusal_document',
    'refused_items',
    'replay_code',
    'reservation_state',
    'rfc3339',
    'set_change_context',
    'utc_offset',
    'visit_length'
)"""


class Rule(NamedTuple):
    """A query that names what breaks a rule, and statements that break it, with what it must name.

    The query sees `tables`, `columns`, `functions` and `keys` of our schema.
    """

    query: str
    broken_by: dict[str, str]


RULES = {
    "everything is commented": Rule(
        """
        SELECT name FROM tables WHERE relkind <> 'S' AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL SELECT table_name || '.' || name FROM columns
        WHERE col_description(attrelid, attnum) IS NULL
        UNION ALL SELECT name FROM functions WHERE obj_description(oid, 'pg_proc') IS NULL
        UNION ALL SELECT tgname FROM pg_trigger
        WHERE tgrelid IN (SELECT oid FROM tables) AND NOT tgisinternal
            AND obj_description(oid, 'pg_trigger') IS NULL
        UNION ALL SELECT nspname FROM pg_namespace
        WHERE nspname = 'holdfast' AND obj_description(oid, 'pg_namespace') IS NULL
        """,
        {
            "CREATE TABLE bad ()": "bad",
            "CREATE VIEW bad AS SELECT 1": "bad",
            "ALTER TABLE stores ADD bad int": "stores.bad",
            "COMMENT ON COLUMN stock_levels.name IS NULL": "stock_levels.name",
            "CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELECT 1'": "bad",
            "CREATE TRIGGER bad BEFORE TRUNCATE ON stores EXECUTE FUNCTION refuse_change()": "bad",
            "COMMENT ON SCHEMA holdfast IS NULL": "holdfast",
        },
    ),
    "every function has its own search_path": Rule(
        """
        SELECT name FROM functions
        WHERE NOT COALESCE('search_path=holdfast, pg_temp' = ANY (proconfig), false)
        """,
        {
            "ALTER FUNCTION lock_stock RESET ALL": "lock_stock",
            "ALTER FUNCTION lock_stock SET search_path = pg_temp, holdfast": "lock_stock",
        },
    ),
    "no function is overloaded": Rule(
        "SELECT name FROM functions GROUP BY name HAVING count(*) > 1",
        {"CREATE FUNCTION lock_stock() RETURNS int LANGUAGE sql AS 'SELECT 1'": "lock_stock"},
    ),
    "PUBLIC may do nothing": Rule(
        """
        SELECT name FROM functions WHERE has_function_privilege('public', oid, 'EXECUTE')
        UNION ALL
        SELECT relname FROM pg_class, aclexplode(relacl) AS a
        WHERE relnamespace = 'holdfast'::regnamespace AND a.grantee = 0
        UNION ALL
        SELECT table_name || '.' || name FROM columns, aclexplode(attacl) AS a WHERE a.grantee = 0
        UNION ALL
        SELECT nspname FROM pg_namespace, aclexplode(nspacl) AS a
        WHERE nspname = 'holdfast' AND a.grantee = 0
        """,
        {
            "CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELECT 1'": "bad",
            "GRANT SELECT ON stores TO PUBLIC": "stores",
            "GRANT SELECT (name) ON stores TO PUBLIC": "stores.name",
            "GRANT USAGE ON SCHEMA holdfast TO PUBLIC": "holdfast",
        },
    ),
    "service and worker have nothing on tables": Rule(
        """
        SELECT name FROM tables, unnest(ARRAY['holdfast_service', 'holdfast_worker']) AS role
        WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege(role, oid, 'USAGE, SELECT, UPDATE')
            ELSE has_table_privilege(role, oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                OR has_table_privilege(role, oid, 'REFERENCES, TRIGGER')
                OR has_any_column_privilege(role, oid, 'SELECT, INSERT, UPDATE, REFERENCES') END
        """,
        {
            "GRANT TRIGGER ON stock TO holdfast_service": "stock",
            "GRANT SELECT (name) ON stores TO holdfast_worker": "stores",
            "GRANT SELECT ON stock_levels TO PUBLIC": "stock_levels",
            "GRANT USAGE ON SEQUENCE stock_movements_movement_id_seq TO holdfast_service": (
                "stock_movements_movement_id_seq"
            ),
            "GRANT holdfast_reader TO holdfast_service": "stock_movements",
        },
    ),
    "the reader only reads": Rule(
        """
        SELECT name FROM tables
        WHERE CASE relkind
            WHEN 'S' THEN has_sequence_privilege('holdfast_reader', oid, 'USAGE, UPDATE')
            ELSE has_table_privilege('holdfast_reader', oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
                OR has_table_privilege('holdfast_reader', oid, 'REFERENCES, TRIGGER')
                OR has_any_column_privilege('holdfast_reader', oid, 'INSERT, UPDATE, REFERENCES')
            END
        UNION ALL
        -- PostgreSQL lets no function write that is not volatile.
        SELECT name FROM functions
        WHERE has_function_privilege('holdfast_reader', oid, 'EXECUTE') AND provolatile = 'v'
        """,
        {
            "GRANT UPDATE (on_hand) ON stock TO holdfast_reader": "stock",
            "GRANT DELETE ON stores TO holdfast_reader": "stores",
            "GRANT EXECUTE ON FUNCTION reserve_stock TO holdfast_reader": "reserve_stock",
        },
    ),
    "what others may call runs as its owner": Rule(
        """
        SELECT name FROM functions, unnest(ARRAY['holdfast_service', 'holdfast_worker']) AS role
        WHERE has_function_privilege(role, oid, 'EXECUTE') AND NOT prosecdef
        """,
        {"GRANT EXECUTE ON FUNCTION lock_stock TO holdfast_worker": "lock_stock"},
    ),
    "what others may call answers a result_code first": Rule(
        """
        SELECT name FROM functions, unnest(ARRAY['holdfast_service', 'holdfast_worker']) AS role
        WHERE has_function_privilege(role, oid, 'EXECUTE')
            AND NOT COALESCE(proargnames[pronargs + 1] IN ('result_code', 'result_codes'), false)
        """,
        {"GRANT EXECUTE ON FUNCTION lock_stock TO holdfast_service": "lock_stock"},
    ),
    "holdfast_owner owns everything": Rule(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'holdfast'::regnamespace AND relowner <> 'holdfast_owner'::regrole
        UNION ALL SELECT proname FROM functions WHERE proowner <> 'holdfast_owner'::regrole
        UNION ALL SELECT typname FROM pg_type
        WHERE typnamespace = 'holdfast'::regnamespace AND typowner <> 'holdfast_owner'::regrole
        UNION ALL SELECT nspname FROM pg_namespace
        WHERE nspname = 'holdfast' AND nspowner <> 'holdfast_owner'::regrole
        """,
        {
            "CREATE VIEW bad AS SELECT 1": "bad",
            "CREATE TYPE bad AS ENUM ('a')": "bad",
            "ALTER FUNCTION lock_stock OWNER TO CURRENT_USER": "lock_stock",
            "ALTER SCHEMA holdfast OWNER TO CURRENT_USER": "holdfast",
        },
    ),
    "our roles log in nowhere and have no power of their own": Rule(
        """
        SELECT name FROM unnest(ARRAY['holdfast_owner', 'holdfast_service', 'holdfast_worker',
            'holdfast_reader']) AS name LEFT JOIN pg_roles ON rolname = name
        WHERE rolname IS NULL OR rolcanlogin OR rolsuper OR rolcreaterole OR rolcreatedb
            OR rolreplication OR rolbypassrls
            OR EXISTS (
                SELECT FROM pg_auth_members WHERE member = pg_roles.oid
                    -- Who may read the tables may also see what takes how long.
                    AND (rolname, roleid::regrole::text) <> ('holdfast_reader', 'pg_read_all_stats')
            )
        """,
        {
            "ALTER ROLE holdfast_worker LOGIN": "holdfast_worker",
            "ALTER ROLE holdfast_owner CREATEDB": "holdfast_owner",
            "GRANT holdfast_owner TO holdfast_service": "holdfast_service",
            "GRANT pg_read_all_data TO holdfast_reader": "holdfast_reader",
            "GRANT pg_read_all_stats TO holdfast_worker": "holdfast_worker",
            "ALTER ROLE holdfast_reader RENAME TO bad": "holdfast_reader",
        },
    ),
    "store_id leads every table and every key": Rule(
        f"""
        SELECT table_name || '.' || name FROM columns
        WHERE relkind IN ('r', 'p') AND table_name NOT IN {WITHOUT_STORE}
            AND attnum = 1 AND name <> 'store_id'
        UNION ALL
        SELECT keys.name FROM keys JOIN tables ON tables.oid = relation
        LEFT JOIN pg_attribute AS a ON attrelid = relation AND attnum = first
        WHERE tables.name NOT IN {WITHOUT_STORE} AND attname IS DISTINCT FROM 'store_id'
        UNION ALL
        SELECT name FROM tables WHERE relkind IN ('r', 'p') AND NOT EXISTS (
            SELECT FROM pg_index WHERE indrelid = tables.oid AND indisprimary)
        """,
        {
            "CREATE TABLE bad (id int, store_id text)": "bad.id",
            "CREATE TABLE bad (store_id text)": "bad",
            "CREATE TABLE bad (store_id text, id int CONSTRAINT pk PRIMARY KEY)": "pk",
            "ALTER TABLE products ADD CONSTRAINT bad UNIQUE (product_id, store_id)": "bad",
            "CREATE UNIQUE INDEX bad ON products (lower(name))": "bad",
            "ALTER TABLE products ADD CONSTRAINT bad EXCLUDE (name WITH =)": "bad",
            "ALTER TABLE reservations ADD CONSTRAINT bad FOREIGN KEY (made_by) REFERENCES stores": (
                "bad"
            ),
            "CREATE TABLE bad (store_id text REFERENCES alembic_version)": "bad",
        },
    ),
    # Or a row of a table, which has its store_id.
    "p_store_id is the first parameter of every function": Rule(
        f"""
        SELECT name FROM functions
        WHERE NOT is_trigger AND name NOT IN {WITHOUT_STORE_PARAMETER}
            AND name NOT LIKE 'find\\_%' AND NOT COALESCE(
            proargnames[1] = 'p_store_id' AND proargtypes[0] = 'text'::regtype, false)
            AND NOT COALESCE(proargtypes[0] = ANY (ARRAY(SELECT reltype FROM pg_class
                WHERE relnamespace = 'holdfast'::regnamespace AND relkind = 'r')), false)
        """,
        {
            "CREATE FUNCTION bad() RETURNS int LANGUAGE sql AS 'SELECT 1'": "bad",
            "CREATE FUNCTION bad(p_a text, p_store_id text) RETURNS int LANGUAGE sql"
            " AS 'SELECT 1'": "bad",
            "CREATE FUNCTION bad(OUT p_store_id text) LANGUAGE sql AS 'SELECT ''a'''": "bad",
        },
    ),
    "parameters begin with p_": Rule(
        """
        SELECT name FROM functions, unnest(proargnames[:pronargs]) AS parameter
        WHERE parameter NOT LIKE 'p\\_%'
        """,
        {"CREATE FUNCTION bad(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'": "bad"},
    ),
    "there are no domains": Rule(
        """
        SELECT typname FROM pg_type
        WHERE typnamespace = 'holdfast'::regnamespace AND typtype = 'd'
        """,
        {"CREATE DOMAIN bad AS text": "bad"},
    ),
    "an id is a bigint, or text that sorts by its bytes": Rule(
        """
        SELECT table_name || '.' || name FROM columns
        WHERE relkind IN ('r', 'p') AND name ~ '_id$' AND NOT (atttypid = 'bigint'::regtype
            OR atttypid = 'text'::regtype AND attcollation = '"C"'::regcollation)
        """,
        {
            "ALTER TABLE stores ADD bad_id text": "stores.bad_id",
            'ALTER TABLE stores ADD bad_id varchar COLLATE "C"': "stores.bad_id",
            "ALTER TABLE stores ADD bad_id int": "stores.bad_id",
        },
    ),
    "a time has a time zone, an amount is no float": Rule(
        """
        SELECT table_name || '.' || name FROM columns
        WHERE atttypid::regtype::text ~ '^(timestamp|time) without|^(real|double precision|money)'
            -- low_at is no time: at how many units a product is low.
            OR (name ~ '_(at|until)$' AND name <> 'low_at' AND atttypid <> 'timestamptz'::regtype)
        UNION ALL
        SELECT name FROM functions,
            unnest(COALESCE(proallargtypes, proargtypes::oid[]) || prorettype) AS type
        WHERE type::regtype::text ~ '^(timestamp|time) without|^(real|double precision|money)'
        """,
        {
            "ALTER TABLE stores ADD bad timestamp": "stores.bad",
            "ALTER TABLE stores ADD bad_at date": "stores.bad_at",
            "ALTER TABLE stores ADD bad float8": "stores.bad",
            "CREATE FUNCTION bad(p_a timestamp[]) RETURNS int LANGUAGE sql AS 'SELECT 1'": "bad",
            "CREATE FUNCTION bad(OUT a real) LANGUAGE sql AS 'SELECT 1::real'": "bad",
        },
    ),
    "every constraint and index is valid": Rule(
        """
        SELECT conname FROM pg_constraint
        WHERE connamespace = 'holdfast'::regnamespace AND NOT convalidated
        UNION ALL
        SELECT indexrelid::regclass::text FROM pg_index
        WHERE indrelid IN (SELECT oid FROM tables) AND NOT indisvalid
        """,
        {
            "ALTER TABLE stock ADD CONSTRAINT bad CHECK (on_hand < 9) NOT VALID": "bad",
            # As a CREATE INDEX CONCURRENTLY that was killed leaves it.
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'stores_pkey'::regclass": (
                "stores_pkey"
            ),
        },
    ),
}


@pytest.fixture(scope="module")
async def clone(cluster: str, template: str) -> AsyncIterator[str]:
    """URL of one copy of the migrated database for all tests here: each leaves it as it was."""
    name = f"holdfast_catalogs_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(cluster)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield with_database(cluster, name)
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def catalogs(clone: str) -> AsyncIterator[Any]:
    """A privileged connection, in a transaction that is rolled back."""
    connection = await asyncpg.connect(clone, server_settings={"search_path": "holdfast"})
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def breaches(connection: Any, rule: Rule) -> set[str]:
    rows = await connection.fetch(VIEWS_OF_THE_CATALOGS + rule.query)
    return {str(row[0]) for row in rows}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
async def test_rule(catalogs: Any, rule: Rule) -> None:
    assert await breaches(catalogs, rule) == set()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
async def test_rule_catches_who_breaks_it(catalogs: Any, rule: Rule) -> None:
    for statement, name in rule.broken_by.items():
        savepoint = catalogs.transaction()
        await savepoint.start()
        await catalogs.execute(statement)
        assert name in await breaches(catalogs, rule), statement
        await savepoint.rollback()
    assert await breaches(catalogs, rule) == set()


async def rights(connection: Any) -> set[tuple[str, str, str]]:
    """(role, privilege, object) of all that our roles can do, by whichever way."""
    rows = await connection.fetch(
        VIEWS_OF_THE_CATALOGS
        + """
        SELECT role, privilege, 'TABLE ' || name FROM tables,
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                'TRIGGER']) AS privilege, unnest($1::text[]) AS role
        WHERE relkind <> 'S' AND has_table_privilege(role, oid, privilege)
        UNION ALL
        SELECT role, privilege, 'COLUMN ' || table_name || '.' || name FROM columns,
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege,
            unnest($1::text[]) AS role
        WHERE has_column_privilege(role, attrelid, attnum, privilege)
            AND NOT has_table_privilege(role, attrelid, privilege)
        UNION ALL
        SELECT role, privilege, 'SEQUENCE ' || name FROM tables,
            unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege, unnest($1::text[]) AS role
        WHERE CASE relkind WHEN 'S' THEN has_sequence_privilege(role, oid, privilege) END
        UNION ALL
        SELECT role, 'EXECUTE', 'FUNCTION ' || name FROM functions, unnest($1::text[]) AS role
        WHERE has_function_privilege(role, oid, 'EXECUTE')
        UNION ALL
        SELECT role, privilege, 'SCHEMA holdfast'
        FROM unnest(ARRAY['USAGE', 'CREATE']) AS privilege, unnest($1::text[]) AS role
        WHERE has_schema_privilege(role, 'holdfast', privilege)
        """,
        list(ROLES),
    )
    return {tuple(row) for row in rows}


async def test_rights_are_those_of_the_file(catalogs: Any) -> None:
    grants = (sql_files.SQL / "roles" / "grants.sql").read_text()
    listed = set(re.findall(r"\('(\w+)',\s+'(\w+)',\s+'(\w+ \w+)'\)", grants))
    assert {role for role, _, _ in listed} == set(ROLES)
    assert await rights(catalogs) == listed
    for statement in (
        "GRANT SELECT ON installed_files TO holdfast_reader",
        "GRANT UPDATE (name) ON stores TO holdfast_worker",
        "GRANT USAGE ON SEQUENCE stock_movements_movement_id_seq TO holdfast_reader",
        "GRANT EXECUTE ON FUNCTION lock_stock TO PUBLIC",
        "GRANT CREATE ON SCHEMA holdfast TO holdfast_service",
        "REVOKE EXECUTE ON FUNCTION reserve_stock FROM holdfast_service",
    ):
        savepoint = catalogs.transaction()
        await savepoint.start()
        await catalogs.execute(statement)
        assert await rights(catalogs) != listed, statement
        await savepoint.rollback()


CARRIED = {
    "search_path": "holdfast, pg_temp",
    "lock_timeout": "2s",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}


async def carried(connection: Any) -> dict[str, str]:
    return {name: await connection.fetchval(f"SHOW {name}") for name in ("role", *CARRIED)}


@pytest.mark.parametrize("role", ["holdfast_owner", *ROLES])
async def test_connections_carry_role_path_and_timeouts(clone: str, role: str) -> None:
    async with connected(clone, role) as connection:
        assert await connection.fetchval("SELECT current_user") == role
        assert await carried(connection) == {"role": role, **CARRIED}
        await connection.execute("RESET ALL")  # as pools do: they are the session's own defaults
        assert await carried(connection) == {"role": role, **CARRIED}

    async with connected(clone, role, seconds=None) as for_long_commands:
        expected = {"role": role, **CARRIED, "statement_timeout": "0"}
        assert await carried(for_long_commands) == expected

    bare = await asyncpg.connect(clone)
    without = await carried(bare)
    assert all(without[name] != value for name, value in CARRIED.items())
    assert without["role"] == "none"
    await bare.close()


async def test_psql_connects_as_a_reader_that_cannot_write(clone: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "psql", "--url"),
        cwd=ROOT,
        env=environment(database_url=clone),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    insert = "INSERT INTO stores (store_id) VALUES ('main')"
    reader = await asyncpg.connect(output.decode().strip())
    assert await reader.fetchval("SHOW role") == "holdfast_reader"
    assert await reader.fetch("SELECT * FROM stock_levels") == []
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.execute(insert)
    await reader.execute("SET default_transaction_read_only = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute(insert)
    await reader.close()
    async with connected(clone, OWNER) as owner, owner.transaction():
        await owner.execute(insert)
        await owner.execute("DELETE FROM stores")
