"""plpgsql_check finds nothing in any function: what CREATE FUNCTION lets pass fails only when run.

It reads every statement, run or not: names and types, results, casts that keep an index from
being used, variables nobody reads, dynamic SQL that could be injected into.
"""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import asyncpg
import pytest

from tests.plpgsql_coverage import EXTENSION_SCHEMA, MISSING

# A trigger's function once per trigger: its NEW, OLD and transition tables are the trigger's. It
# takes a SELECT that locks for one that only reads, which may stand in a STABLE function.
FINDINGS = f"""
SELECT p.proname || COALESCE(' ON ' || t.tgrelid::regclass, '') AS function,
    c.lineno AS line, c.message
FROM pg_proc AS p
JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
LEFT JOIN pg_trigger AS t ON t.tgfoid = p.oid AND NOT t.tgisinternal
CROSS JOIN LATERAL {EXTENSION_SCHEMA}.plpgsql_check_function_tb(
    p.oid, COALESCE(t.tgrelid, 0), oldtable => t.tgoldtable, newtable => t.tgnewtable,
    fatal_errors => false, all_warnings => true) AS c
WHERE p.pronamespace = 'holdfast'::regnamespace
    AND (t.oid IS NOT NULL OR p.prorettype <> 'trigger'::regtype)
    AND NOT (c.message LIKE '%should be STABLE' AND p.prosrc LIKE '%UPDATE SKIP LOCKED%')
UNION ALL
SELECT p.proname, NULL, 'no trigger runs it'
FROM pg_proc AS p
WHERE p.pronamespace = 'holdfast'::regnamespace AND p.prorettype = 'trigger'::regtype
    AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgfoid = p.oid)
ORDER BY 1, 2, 3
"""


class Finding(NamedTuple):
    """One complaint about one function, in the words of plpgsql_check."""

    function: str
    line: int | None
    message: str


BROKEN_FUNCTIONS = {
    "PERFORM nothing FROM stock;": 'column "nothing" does not exist',
    "PERFORM FROM no_table;": 'relation "no_table" does not exist',
    "PERFORM lock_stock(1, 2);": "function lock_stock(integer, integer) does not exist",
    "IF p_id = 'x' THEN RETURN 1; END IF;": "control reached end of function without RETURN",
    "DECLARE v_a int; BEGIN RETURN 1; END;": 'unused variable "v_a"',
    "RETURN 1::bigint;": "target type is different type than source type",
    "EXECUTE 'SELECT ' || p_id; RETURN 1;": "text type variable is not sanitized",
    "DECLARE v_a numeric; BEGIN PERFORM FROM stock WHERE on_hand = v_a; END;": "implicit cast",
    "RETURN 1;": "routine is marked as VOLATILE, should be IMMUTABLE",
}
BROKEN_TRIGGERS = {
    "NEW.nothing := 1; RETURN NEW;": 'record "new" has no field "nothing"',
    "PERFORM FROM old_stock; RETURN NULL;": 'relation "old_stock" does not exist',
    "PERFORM nothing FROM new_stock; RETURN NULL;": 'column "nothing" does not exist',
}


@pytest.fixture
async def checker(dsn: str) -> AsyncIterator[Any]:
    """A privileged connection with what callers prepare, in a transaction that is rolled back."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "holdfast, pg_temp"})
    try:
        if not await connection.fetchval("SELECT to_regnamespace($1)", EXTENSION_SCHEMA):
            pytest.skip(MISSING)
        transaction = connection.transaction()
        await transaction.start()
        yield connection
        await transaction.rollback()
    finally:
        await connection.close()


async def findings(connection: Any) -> list[Finding]:
    return [Finding(*row) for row in await connection.fetch(FINDINGS)]


async def findings_after(connection: Any, script: str) -> list[Finding]:
    """What is found once `script` has run, which is then taken back."""
    savepoint = connection.transaction()
    await savepoint.start()
    await connection.execute(script)
    found = await findings(connection)
    await savepoint.rollback()
    return found


async def test_nothing_is_found(checker: Any) -> None:
    assert await findings(checker) == []


async def test_a_broken_function_is_found(checker: Any) -> None:
    for body, message in BROKEN_FUNCTIONS.items():
        script = (
            f"CREATE FUNCTION bad(p_id text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        found = await findings_after(checker, script)
        assert {finding.function for finding in found} == {"bad"}
        assert message in "; ".join(finding.message for finding in found)


async def test_a_broken_trigger_is_found(checker: Any) -> None:
    for body, message in BROKEN_TRIGGERS.items():
        script = (
            f"CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
            "CREATE TRIGGER bad AFTER INSERT ON stock REFERENCING NEW TABLE AS new_stock"
            " FOR EACH STATEMENT EXECUTE FUNCTION bad()"
        )
        (finding,) = await findings_after(checker, script)
        assert finding.function == "bad ON stock"
        assert message in finding.message


async def test_a_function_without_its_trigger_is_found(checker: Any) -> None:
    found = await findings_after(checker, "DROP TRIGGER create_stock_rows ON products")
    assert found == [Finding("create_stock_rows", None, "no trigger runs it")]
