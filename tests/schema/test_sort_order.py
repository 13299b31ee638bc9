"""A sort over parameters says COLLATE "C".

By the database's own rules it would be another order than
that of our columns, and so another order of locks.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sql_files import Complaints, Files, functions, is_a, nodes, read_files, walk

TEXT_MAKERS = {
    "jsonb_array_elements_text", "jsonb_each", "jsonb_each_text", "jsonb_object_keys",
    "string_to_table", "regexp_split_to_table",
}  # fmt: skip
"""Of PostgreSQL's own, functions whose first column is text."""
WORDS = {"text", "varchar", "name"}

Columns = dict[str, set[str]]
"""Of what stands in FROM, by its name: the columns that are text of a parameter."""


def sorts_over_parameters_say_collate(files: Files) -> Complaints:
    """ORDER BY of a SELECT, an aggregate or a window, over what was unnested."""
    for function in functions(files):
        arrays = _text_arrays(function)
        for query in function.queries():
            yield from (f"{function.name}: {name}" for name in _loose(query, arrays))


def _text_arrays(function: Any) -> set[str]:
    """Parameters and variables that are arrays of text."""
    found = {str(each.name) for each in function.node.parameters or () if _is_array(each.argType)}
    for kind, node in nodes(function.plpgsql()):
        if kind == "PLpgSQL_var":
            name = node["datatype"]["PLpgSQL_type"]["typname"]  # as pg_type has it: _text
            if name.removeprefix("_") in WORDS and name.startswith("_"):
                found.add(node["refname"])
    return found


def _is_array(kind: Any) -> bool:
    return bool(kind.arrayBounds) and kind.names[-1].sval in WORDS


def _loose(query: Any, arrays: set[str]) -> Iterator[str]:
    ctes: Columns = {}
    for node in walk(query):
        if is_a(node, "CommonTableExpr"):
            ctes[node.ctename] = _given(node.ctequery, node.aliascolnames, ctes, arrays)
    for node in walk(query):
        if is_a(node, "SelectStmt") and not node.op.value:
            known = _columns(node, ctes, arrays)
            targets = _targets(node)
            for key in _keys(node):
                key = targets.get(_name(key), key)
                if is_a(key, "ColumnRef") and _is_text(key, known):
                    yield ".".join(each.sval for each in key.fields)


def _keys(select: Any) -> Iterator[Any]:
    """What a SELECT sorts by, its aggregates and windows, too; not its subqueries."""
    waiting = [*(select.sortClause or ()), *(select.targetList or ()), *(select.windowClause or ())]
    while waiting:
        node = waiting.pop()
        if is_a(node, "SortBy"):
            yield node.node
        elif is_a(node, "WindowDef", "FuncCall", "ResTarget", "CoalesceExpr", "TypeCast", "A_Expr"):
            parts = [getattr(node, each) for each in node]
            waiting += [part for part in parts if part is not None and not isinstance(part, str)]
        elif isinstance(node, tuple | list):
            waiting += node


def _targets(select: Any) -> dict[str, Any]:
    """What a SELECT gives, by name and by number."""
    found = {}
    for number, target in enumerate(select.targetList or (), 1):
        found[str(number)] = target.val
        if target.name:
            found[target.name] = target.val
    return found


def _name(key: Any) -> str:
    """How a sort key names what the SELECT gives; empty: it does not."""
    if is_a(key, "A_Const") and is_a(key.val, "Integer"):
        return str(key.val.ival)
    is_bare = is_a(key, "ColumnRef") and len(key.fields) == 1
    return str(getattr(key.fields[0], "sval", "")) if is_bare else ""


def _columns(select: Any, ctes: Columns, arrays: set[str]) -> Columns:
    found: Columns = {}
    waiting = [*(select.fromClause or ())]
    while waiting:
        part = waiting.pop()
        if is_a(part, "JoinExpr"):
            waiting += [part.larg, part.rarg]
        elif is_a(part, "RangeFunction"):
            calls = [each[0] for each in part.functions]
            names = [each.sval for each in (part.alias.colnames or ())] if part.alias else []
            name = part.alias.aliasname if part.alias else ""
            made = [*_made(calls, arrays)]
            pairs = zip(names or [name], made, strict=False)
            found[name] = {each for each, is_text in pairs if is_text}
            if found[name] and not names:
                found[name].add("key")  # of jsonb_each()
        elif is_a(part, "RangeSubselect"):
            found[part.alias.aliasname] = _given(part.subquery, part.alias.colnames, ctes, arrays)
        elif is_a(part, "RangeVar"):
            name = part.alias.aliasname if part.alias else part.relname
            found[name] = ctes.get(part.relname, set())
    return found


def _made(calls: list[Any], arrays: set[str]) -> Iterator[bool]:
    """Of each column that functions in FROM give, whether it is text of a parameter."""
    for call in calls:
        name = call.funcname[-1].sval if is_a(call, "FuncCall") else ""
        if name == "unnest":
            for argument in call.args:
                is_ours = is_a(argument, "ColumnRef") and argument.fields[-1].sval in arrays
                yield is_ours or (is_a(argument, "TypeCast") and _is_array(argument.typeName))
        else:
            yield name in TEXT_MAKERS


def _given(query: Any, names: Any, ctes: Columns, arrays: set[str]) -> set[str]:
    """The columns of a subquery that are text of a parameter."""
    if not is_a(query, "SelectStmt"):
        return set()
    if query.op.value:
        return _given(query.larg, names, ctes, arrays)
    known, found = _columns(query, ctes, arrays), set()
    for number, target in enumerate(query.targetList or ()):
        if is_a(target.val, "ColumnRef") and _is_text(target.val, known):
            own = target.name or target.val.fields[-1].sval
            found.add(names[number].sval if names else own)
    return found


def _is_text(column: Any, known: Columns) -> bool:
    names = [getattr(each, "sval", "*") for each in column.fields]
    if len(names) > 1:
        return names[-1] in known.get(names[0], ())
    # A bare name is of a table, too, unless all that stands in FROM was made of parameters.
    return any(names[0] in columns for columns in known.values()) and len(known) == 1


GOOD = """\
CREATE OR REPLACE FUNCTION good(p_store_id text, p_ids text[], p_counts int[]) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_ids text[] := p_ids;
BEGIN
    PERFORM n.id FROM unnest(p_ids, p_counts) AS n (id, count) ORDER BY n.id COLLATE "C", n.count;
    PERFORM array_agg(w.id ORDER BY w.id COLLATE "C") FROM unnest(v_ids) AS w (id);
    PERFORM FROM (SELECT DISTINCT u.id COLLATE "C" AS id FROM unnest(p_ids) AS u (id)) AS d
    ORDER BY d.id;
    PERFORM s.product_id FROM stock AS s ORDER BY s.product_id;
END $$;
"""
BROKEN = [
    ('ORDER BY n.id COLLATE "C", n', "ORDER BY n.id, n", "good: n.id"),
    ('ORDER BY n.id COLLATE "C", n', "ORDER BY 1, n", "good: n.id"),
    ('w.id COLLATE "C")', "w.id)", "good: w.id"),
    ('u.id COLLATE "C" AS id', "u.id", "good: d.id"),
    ("FROM stock AS s ORDER BY s.product_id", "FROM unnest(v_ids) AS x ORDER BY x", "good: x"),
    ("stock AS s ORDER BY s.product_id", "jsonb_each('{}') AS e ORDER BY e.key", "good: e.key"),
]


def test_every_sort_over_parameters_says_collate() -> None:
    assert list(sorts_over_parameters_say_collate(read_files())) == []


@pytest.mark.parametrize(("good", "bad", "said"), BROKEN)
def test_who_sorts_otherwise_is_caught(good: str, bad: str, said: str) -> None:
    assert list(sorts_over_parameters_say_collate({"a/good.sql": GOOD})) == []
    assert good in GOOD
    broken = {"a/good.sql": GOOD.replace(good, bad)}
    assert said in list(sorts_over_parameters_say_collate(broken))
