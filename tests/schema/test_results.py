"""The result codes of sql/ and the table in service/results.py are the same, both ways.

The codes of a function are found by parsing it (with PostgreSQL's own parser, by pglast): they
are the words that its expressions can yield. Followed is everything except what never becomes a
value: conditions, operands of operators, arguments that are formats or keys, and what INSERT and
UPDATE write into tables. So a code is found wherever it stands: assigned, selected, returned, an
initial value, an argument. A word that a CHECK of some table lists is a status or a kind, no code.
"""

import re
from collections.abc import Iterator
from typing import Any

from pglast import ast, enums, parse_plpgsql, parse_sql

from service.database import sql_files
from service.results import HTTP_RESULTS, RESULTS, SQL_RESULTS
from service.web.responses import respond_code

WORD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
# (kind of node, its part) that yields no value of the expression it belongs to.
NO_VALUES = {
    ("CaseExpr", "arg"),
    ("CaseWhen", "expr"),
    ("SelectStmt", "whereClause"),
    ("SelectStmt", "havingClause"),
    ("JoinExpr", "quals"),
    ("InsertStmt", "selectStmt"),
    ("InsertStmt", "onConflictClause"),
    ("UpdateStmt", "targetList"),
    ("UpdateStmt", "whereClause"),
    ("DeleteStmt", "whereClause"),
}
TAKE_FORMATS = {
    "set_change_context",
    "extract", "format", "to_char", "set_config", "current_setting", "regexp_replace"
}  # fmt: skip
EVERY_WAY = """
CREATE FUNCTION every_way(p_store_id text, OUT result_code text) LANGUAGE plpgsql AS $$
DECLARE
    v_code text := 'initial';
    v_codes text[] := array_fill('filled'::text, ARRAY[3]);
BEGIN
    -- A 'comment', and 'a format', are no codes.
    IF v_code = 'compared' OR v_code IN ('among', 'others') THEN
        result_code := 'assigned';
    END IF;
    v_codes[2] := COALESCE(v_code, CASE WHEN v_code = 'asked' THEN 'then' ELSE 'else' END);
    SELECT 'selected', s.code INTO result_code, v_code
    FROM (SELECT 'inner' AS code UNION ALL VALUES ('value')) AS s WHERE s.code = 'filter';
    PERFORM answer('argument'), set_config('holdfast.reason', to_char(now(), 'y'), true);
    v_code := jsonb_build_object('key', 'in_document', 'other', NULLIF('unless', 'equal'));
    INSERT INTO t (kind) VALUES ('written') RETURNING 'returned' INTO v_code;
    UPDATE t SET kind = 'updated' WHERE kind = 'sought';
    FOR v_code IN SELECT unnest(ARRAY['looped', 'twice']) LOOP NULL; END LOOP;
    CASE v_code WHEN 'switch' THEN result_code := 'switched'; ELSE NULL; END CASE;
    RAISE EXCEPTION 'raised' USING ERRCODE = 'object_in_use';
EXCEPTION WHEN unique_violation THEN result_code := 'caught';
END $$
"""


def values(node: Any) -> Iterator[str]:
    """The string constants that a parsed statement or expression can yield."""
    if isinstance(node, tuple):
        for item in node:
            yield from values(item)
    elif isinstance(node, ast.A_Const):
        if isinstance(node.val, ast.String):
            yield str(node.val.sval)
    elif isinstance(node, ast.A_Expr):
        if node.kind == enums.A_Expr_Kind.AEXPR_NULLIF:
            yield from values(node.lexpr)
    elif isinstance(node, ast.FuncCall):
        assert node.funcname
        name = node.funcname[-1].sval
        if name == "jsonb_build_object":
            yield from values((node.args or ())[1::2])
        elif name not in TAKE_FORMATS:
            yield from values(node.args)
    elif isinstance(node, ast.Node):
        for part in node:
            if (type(node).__name__, part) not in NO_VALUES:
                yield from values(getattr(node, part))


def expressions(tree: Any) -> Iterator[str]:
    """Every expression and statement of a parsed plpgsql function, as one that can be parsed."""
    if isinstance(tree, list):
        for item in tree:
            yield from expressions(item)
    elif isinstance(tree, dict):
        if expression := tree.get("PLpgSQL_expr"):
            query, mode = expression["query"], expression["parseMode"]
            if mode > 2:  # an assignment: target := expression
                query = query.partition("=")[2]
            yield query if mode == 0 else f"SELECT {query}"
        for kind, item in tree.items():
            if kind != "PLpgSQL_stmt_raise":
                yield from expressions(item)


def words(function: str) -> set[str]:
    """The words that the expressions of a CREATE FUNCTION can yield."""
    if "LANGUAGE sql" in function:
        statements = [function.split("$$")[1]]
    else:
        statements = list(expressions(parse_plpgsql(function)))
    found = (value for statement in statements for value in values(parse_sql(statement)))
    return {value for value in found if WORD.fullmatch(value)}


def test_words_are_found_wherever_they_can_be_a_value() -> None:
    assert words(EVERY_WAY) == {
        *("initial", "filled", "assigned", "then", "else", "selected", "inner", "value"),
        *("argument", "in_document", "unless", "returned", "looped", "twice", "switched"),
        "caught",
    }


async def test_sql_and_the_table_have_the_same_codes(sql: Any) -> None:
    bodies = [(sql_files.SQL / path).read_text() for path in sql_files.manifest()]
    functions = [body for body in bodies if body.startswith("CREATE OR REPLACE FUNCTION")]
    assert functions
    checks = await sql.fetch(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype = 'c' AND connamespace = 'holdfast'::regnamespace"
    )
    labels = await sql.fetch(
        "SELECT enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid"
        " WHERE typnamespace = 'holdfast'::regnamespace"
    )
    statuses = {word for row in checks for word in re.findall(r"'(\w+)'::text", row[0])}
    statuses |= {row["enumlabel"] for row in labels}
    assert statuses >= {"held", "callback", "adjustment"}
    assert not statuses & set(SQL_RESULTS), "a code that looks like a status"
    codes = set().union(*map(words, functions)) - statuses
    assert codes == set(SQL_RESULTS)


def test_every_code_has_a_sane_answer() -> None:
    assert not set(SQL_RESULTS) & set(HTTP_RESULTS)
    for code, result in RESULTS.items():
        assert WORD.fullmatch(code), code
        assert result.message.endswith("."), code
        assert not result.detail or result.detail.endswith("."), code
        assert respond_code(code).status == result.status  # details without their fields, too
        assert ("Retry-After" in respond_code(code).headers) == (result.status in (429, 503)), code
        is_success = code in ("ok", "created", "replayed") or code.startswith("already_")
        assert (result.status < 400) == is_success, code
    assert {r.status for r in SQL_RESULTS.values()} <= {200, 201, 401, 402, 403, 404, 409, 422, 429}
    assert {r.status for r in HTTP_RESULTS.values()} <= {
        *(400, 401, 403, 404, 405, 408, 413, 415, 417, 422, 429, 500, 503)
    }
