"""Functions of the release before: a changed signature gets a new name.

CREATE OR REPLACE would fail where the result differs and make an overload where the parameters do,
on every database that is upgraded; and services of that release run on beside those of this one.
Where only commands of the owner call it, a revision may drop the old one first.

`released_functions.txt` is of commit 6181926; whoever releases writes it anew, with FUNCTIONS.
"""

import re
from typing import Any

from service.settings import ROOT

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
