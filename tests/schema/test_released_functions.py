"""Functions of the release before: a changed signature gets a new name.

CREATE OR REPLACE would fail where the result differs and make an overload where the parameters do,
on every database that is upgraded; and services of that release run on beside those of this one.
Where only commands of the owner call it, a revision may drop the old one first.

`released_functions.txt` is of commit 6181926; whoever releases writes it anew, with FUNCTIONS.
"""

import re
from typing import Any

from service.settings import ROOT
from tests.support.aliases import Stocked
from tests.support.builders import create_user

RELEASED = (ROOT / "tests" / "schema" / "released_functions.txt").read_text().splitlines()
DROPPED = {
    name
    for path in (ROOT / "alembic" / "versions").glob("*.py")
    for name in re.findall(r"DROP FUNCTION IF EXISTS (\w+)\(", path.read_text())
}
FUNCTIONS = """
SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ') -> '
    || pg_get_function_result(oid)
FROM pg_proc
WHERE pronamespace = 'holdfast'::regnamespace AND prorettype <> 'trigger'::regtype
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
ORDER BY proname COLLATE "C"
"""


def name_of(line: str) -> str:
    return line.partition("(")[0]


async def changed(sql: Any) -> list[str]:
    """The functions that have a released name and another signature."""
    released = {name_of(line): line for line in RELEASED}
    found = [str(row[0]) for row in await sql.fetch(FUNCTIONS)]
    return [
        line
        for line in found
        if released.get(name_of(line), line) != line and name_of(line) not in DROPPED
    ]


async def test_no_released_function_has_another_signature(sql: Any) -> None:
    assert len(RELEASED) > 50
    assert await changed(sql) == []


async def test_another_signature_is_found(sql: Any) -> None:
    await sql.execute("DROP FUNCTION create_store")
    await sql.execute(
        "CREATE FUNCTION create_store(p_store_id text) RETURNS text LANGUAGE sql"
        " SET search_path = holdfast, pg_temp AS 'SELECT p_store_id'"
    )
    assert await changed(sql) == ["create_store(p_store_id text) -> text"]


async def test_those_that_gave_way_answer_as_what_they_call(sql: Any, stocked: Stocked) -> None:
    await stocked({"7": 5})
    now = await sql.fetchval("SELECT clock_timestamp()")
    refused = await sql.fetchrow(
        "SELECT * FROM change_stock('main', 'demand', '{7}', '{6}', NULL, 'tests')"
    )
    assert refused["result_code"] == "insufficient_stock"
    assert refused["refused_items"] == await sql.fetchval(
        "SELECT document -> 'items' FROM move_stock('main', 'demand', '{7}', '{6}', NULL, 'tests')"
    )
    for old, new in (
        ("past_report('main', $1)", "read_store('main', $1, NULL, NULL)"),
        ("stock_as_of('main', $1)", "list_past_stock('main', $1)"),
    ):
        found = await sql.fetch(f"SELECT * FROM {old}", now)
        assert found
        assert found == await sql.fetch(f"SELECT * FROM {new}", now)
    items = await sql.fetch("SELECT * FROM store_items('main')")
    assert items
    assert items == await sql.fetch("SELECT * FROM list_stock('main')")
    named = await sql.fetchrow("SELECT * FROM name_store('main', 'Harbour')")
    assert (named["result_code"], await sql.fetchval("SELECT name FROM stores")) == (
        *("ok", "Harbour"),
    )


async def test_a_token_of_the_release_before_is_checked(sql: Any) -> None:
    user_id = await create_user(sql, "ann", "staff")
    check = "SELECT result_code, user_role FROM check_session('main', $1, $2, now() + $3::interval)"
    generation = await sql.fetchval("SELECT token_generation FROM users")
    for generations, life, found in (
        (0, "1 minute", ("ok", "staff")),
        (1, "1 minute", ("unauthorized", None)),
        (0, "-1 minute", ("unauthorized", None)),
    ):
        row = await sql.fetchrow(
            check.replace("$3", f"'{life}'"), user_id, generation + generations
        )
        assert tuple(row) == found
