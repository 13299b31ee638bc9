"""Which tables a piece of SQL reads, and by what it tells one store's rows from another's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.sql_files import is_a, walk

STATEMENTS = ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt")
PINNED = "(one store)"
"""What is equal to this is of the one store that the function was called for."""


@dataclass
class Scope:
    """One SELECT, INSERT, UPDATE or DELETE: what it names, and which of that is of one store."""

    node: Any
    outer: "Scope | None" = None
    tables: dict[str, str] = field(default_factory=dict)
    """Tables, views, transition tables and CTEs by the name that stands for them here."""
    others: dict[str, Any] = field(default_factory=dict)
    """Subqueries in FROM, likewise."""
    ctes: frozenset[str] = frozenset()
    links: list[tuple[str, str]] = field(default_factory=list)
    """Pairs with the same store_id, PINNED among them."""

    def knows(self, name: str) -> bool:
        return name in self.tables or name in self.others

    def finds(self, name: str) -> bool:
        """Whether a name stands for something here or further out."""
        return self.knows(name) or bool(self.outer and self.outer.finds(name))

    def group(self, name: str) -> set[str]:
        """All that has the same store_id as `name`."""
        found = {name}
        while True:
            more = {b for pair in self.links for a, b in (pair, pair[::-1]) if a in found} - found
            if not more:
                return found
            found |= more

    def is_pinned(self, name: str) -> bool:
        """Whether only rows of one store are read, told by this scope or by those around it."""
        if not self.knows(name) and self.outer:
            return self.outer.is_pinned(name)
        group = self.group(name)
        return PINNED in group or any(
            self.outer.is_pinned(each)
            for each in group
            if self.outer and not self.knows(each) and each != PINNED
        )


def scopes(node: Any, outer: Scope | None = None) -> Iterator[Scope]:
    """Every scope of a piece of SQL, outer ones first."""
    for statement in _statements(node):
        if statement.withClause:
            names = frozenset(cte.ctename for cte in statement.withClause.ctes)
            known = outer.ctes if outer else frozenset()
            outer = Scope(statement, outer, ctes=known | names)
        if is_a(statement, "SelectStmt") and statement.op.value:
            for part in (statement.larg, statement.rarg):
                yield from scopes(part, outer)
            yield from scopes(statement.withClause, outer)
            continue
        scope = Scope(statement, outer, ctes=outer.ctes if outer else frozenset())
        _name(scope)
        _link(scope)
        yield scope
        yield from scopes([getattr(statement, name) for name in statement], scope)


def _statements(node: Any) -> Iterator[Any]:
    """The outermost statements in a tree."""
    if is_a(node, *STATEMENTS):
        yield node
    elif isinstance(node, tuple | list):
        for item in node:
            yield from _statements(item)
    elif hasattr(node, "ast_node") or hasattr(node, "__slots__"):
        for name in node if not isinstance(node, str | bytes) else ():
            yield from _statements(getattr(node, name))


def _parts(scope: Scope) -> Iterator[Any]:
    """What stands in FROM, UPDATE, USING: joins are taken apart, and given, too."""
    node = scope.node
    waiting: list[Any] = [getattr(node, "relation", None)]
    waiting += getattr(node, "fromClause", None) or getattr(node, "usingClause", None) or ()
    while waiting:
        part = waiting.pop(0)
        if is_a(part, "JoinExpr"):
            waiting += [part.larg, part.rarg]
        if part is not None:
            yield part


def _name(scope: Scope) -> None:
    for part in _parts(scope):
        if is_a(part, "RangeVar"):
            name = f"{part.schemaname}.{part.relname}" if part.schemaname else part.relname
            scope.tables[part.alias.aliasname if part.alias else part.relname] = name
        elif is_a(part, "RangeSubselect"):
            scope.others[part.alias.aliasname] = part.subquery


def _link(scope: Scope) -> None:
    conditions = [getattr(scope.node, "whereClause", None)]
    for part in _parts(scope):
        if is_a(part, "JoinExpr"):
            conditions.append(part.quals)
            if "store_id" in [column.sval for column in part.usingClause or ()]:
                left, right = (_names(side) for side in (part.larg, part.rarg))
                scope.links += [(left[0], name) for name in right if left]
    for condition in conditions:
        scope.links += [pair for each in _conjuncts(condition) for pair in _pairs(scope, each)]
    for name, query in scope.others.items():
        # LATERAL: what is inside says to what outside it belongs.
        for inner in scopes(query, scope):
            for known in scope.tables.keys() | scope.others.keys():
                if any(known in pair and not inner.knows(known) for pair in inner.links):
                    scope.links.append((name, known))


def _names(part: Any) -> list[str]:
    if is_a(part, "JoinExpr"):
        return _names(part.larg) + _names(part.rarg)
    if is_a(part, "RangeVar"):
        return [part.alias.aliasname if part.alias else part.relname]
    return [part.alias.aliasname] if is_a(part, "RangeSubselect") else []


def _conjuncts(condition: Any) -> Iterator[Any]:
    if is_a(condition, "BoolExpr") and condition.boolop.name == "AND_EXPR":
        for part in condition.args:
            yield from _conjuncts(part)
    elif condition is not None:
        yield condition


def _pairs(scope: Scope, condition: Any) -> Iterator[tuple[str, str]]:
    if is_a(condition, "A_Expr") and [each.sval for each in condition.name] == ["="]:
        sides = [_owners(scope, side) for side in (condition.lexpr, condition.rexpr)]
        yield from ((a, b) for a in sides[0] for b in sides[1] if a != b)


def _owners(scope: Scope, node: Any) -> list[str]:
    """Whose store_id a column is; PINNED for a parameter, a variable, or a field of one."""
    if not is_a(node, "ColumnRef"):
        return []
    names = [getattr(each, "sval", "*") for each in node.fields]
    if names == ["store_id"]:
        # Not ambiguous, or PostgreSQL would refuse it: of all tables here, joined by it.
        return list(scope.tables)
    if len(names) == 1:
        return [PINNED] if names[0].startswith(("p_", "v_")) else []
    if names[-1] == "store_id":
        return [names[0]] if scope.finds(names[0]) else [PINNED]
    return []


def calls(node: Any) -> Iterator[str]:
    """The names of all functions that a piece of SQL calls."""
    for each in walk(node):
        if is_a(each, "FuncCall"):
            yield str(each.funcname[-1].sval)
