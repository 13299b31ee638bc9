"""The files of sql/ as PostgreSQL's own parser sees them, bodies and all."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pglast

from service.database import sql_files

Files = Mapping[str, str]
"""What is below sql/, by path: *.sql and manifest.txt."""
Complaints = Iterator[str]
EXPRESSION, ASSIGNMENT = 2, 3
"""How plpgsql parses a piece of SQL: as an expression, or, from here on, with what it sets."""


class Function(NamedTuple):
    """One CREATE FUNCTION: as parsed, and as written."""

    node: Any
    text: str

    @property
    def name(self) -> str:
        return str(self.node.funcname[-1].sval)

    @property
    def language(self) -> str:
        return str(self.option("language").sval)

    @property
    def body(self) -> str:
        return str(self.option("as")[0].sval)

    @property
    def parameters(self) -> list[str]:
        return [str(each.name) for each in self.node.parameters or ()]

    def option(self, name: str) -> Any:
        """The value of an option such as "volatility"; None where it is not given."""
        return next((o.arg for o in self.node.options if o.defname == name), None)

    def plpgsql(self) -> dict[str, Any]:
        """The parsed body: what it knows by name ("datums") and what it does ("action")."""
        if self.language != "plpgsql":
            return {"datums": []}
        return dict(pglast.parse_plpgsql(self.text)[0]["PLpgSQL_function"])

    def queries(self) -> Iterator[Any]:
        """Every piece of SQL in the body, parsed; an expression as the SELECT that it is."""
        if self.language == "sql":
            yield from (raw.stmt for raw in pglast.parse_sql(self.body))
        for kind, node in nodes(self.plpgsql()):
            if kind == "PLpgSQL_expr":
                text, mode = node["query"], node["parseMode"]
                if mode >= ASSIGNMENT:
                    text = text.partition(":=")[2] or text.partition("=")[2]
                yield pglast.parse_sql(f"SELECT {text}" if mode >= EXPRESSION else text)[0].stmt


def read_files() -> dict[str, str]:
    paths = [*sql_files.SQL.glob("**/*.sql"), sql_files.SQL / "manifest.txt"]
    return {path.relative_to(sql_files.SQL).as_posix(): path.read_text() for path in paths}


def scripts(files: Files) -> Iterator[tuple[str, str]]:
    return ((path, text) for path, text in sorted(files.items()) if path.endswith(".sql"))


def statements(text: str) -> Iterator[tuple[str, Any]]:
    """(kind, content) of each statement, such as "ViewStmt"."""
    return ((type(raw.stmt).__name__, raw.stmt) for raw in pglast.parse_sql(text))


def functions(files: Files) -> Iterator[Function]:
    for _, text in scripts(files):
        for raw in pglast.parse_sql(text):
            if type(raw.stmt).__name__ == "CreateFunctionStmt":
                written = text[raw.stmt_location :][: raw.stmt_len or None]
                yield Function(raw.stmt, written.strip() + ";")


def nodes(tree: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, content) of every node of a parsed body, outer ones first."""
    if isinstance(tree, list):
        for item in tree:
            yield from nodes(item)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key.startswith("PLpgSQL_"):
                yield key, value
            yield from nodes(value)


def walk(node: Any) -> Iterator[Any]:
    """Every node of parsed SQL, outer ones first."""
    if isinstance(node, tuple | list):
        for item in node:
            yield from walk(item)
    elif isinstance(node, pglast.ast.Node):
        yield node
        for name in node:
            yield from walk(getattr(node, name))


def is_a(node: Any, *kinds: str) -> bool:
    return type(node).__name__ in kinds
