"""What a route declares is what its functions can answer, and what it answers."""

import re
from collections.abc import Callable, Iterator
from inspect import ismodule
from types import CodeType, FunctionType
from typing import Any

import pytest
from sqlalchemy import TextClause

from service.app import create_app
from service.database import sql_files
from service.database.pool import Database
from service.results import HTTP_RESULTS, RESULTS, SQL_RESULTS
from service.settings import Settings
from service.web.context import ROUTES
from service.web.routing import Route
from tests.support.aliases import Api, Stocked
from tests.support.builders import callback
from tests.support.servers import WRONG_ANSWERS

ALL = list(create_app(Settings(), Database(""))[ROUTES].values())
DECLARED = [route for route in ALL if route.codes]
WITH_SQL = ("service.domains", "service.web.earlier_clients")
"""Modules whose functions send statements."""


def names_of(route: Route) -> str:
    return f"{route.method} {route.path}"


def names_in(code: CodeType) -> Iterator[str]:
    """The names that a function uses, those of functions inside it, too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from names_in(constant)


def statements_of(handler: Callable[..., Any]) -> set[str]:
    """The SQL that a handler can send, itself or through functions of its domain."""
    found: set[str] = set()
    seen: set[Any] = set()
    waiting: list[Any] = [handler]
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        names = set(names_in(function.__code__))
        modules = [value for value in map(function.__globals__.get, names) if ismodule(value)]
        for name in names:
            spaces = [function.__globals__, *map(vars, modules)]
            value = next((space[name] for space in spaces if name in space), None)
            value = getattr(value, "__wrapped__", value)  # of a cache
            if isinstance(value, TextClause):
                found.add(value.text)
            elif isinstance(value, str) and value.startswith("SELECT"):
                found.add(value)
            elif isinstance(value, FunctionType) and value.__module__.startswith(WITH_SQL):
                waiting.append(value)
    return found


def codes_by_function() -> dict[str, set[str]]:
    """What the COMMENT of each function says: "Codes: ok, unknown_store (why), …"."""
    codes = {}
    for path in sql_files.manifest():
        body = (sql_files.SQL / path).read_text()
        said = re.search(r"COMMENT ON FUNCTION (\w+) IS\n\s*'(.*?)';\n", body, flags=re.DOTALL)
        if said and "Codes: " in said[2]:
            text = re.sub(r"'\n\s*'", "", said[2]).partition("Codes: ")[2]
            listed = re.sub(r"\([^)]*\)", "", text).partition(". ")[0]
            codes[said[1]] = set(re.findall(r"[a-z_]+", listed)) & set(SQL_RESULTS)
    return codes


@pytest.mark.parametrize("route", DECLARED, ids=map(names_of, DECLARED))
def test_a_route_declares_the_codes_that_its_functions_give(route: Route) -> None:
    functions = codes_by_function()
    given: set[str] = set()
    for statement in statements_of(route.handler):
        for name in re.findall(r"\bFROM (\w+)\(", statement):
            given |= functions.get(name, set())
    assert given, "no function of this route tells its codes in its comment"
    if "created" in route.codes and "created" not in given:
        given = given - {"ok"} | {"created"}  # callbacks and holds are made by one call
    assert given == set(route.codes) - set(HTTP_RESULTS)
    assert set(route.codes) <= set(RESULTS)


@pytest.mark.parametrize("route", DECLARED, ids=map(names_of, DECLARED))
def test_a_route_with_codes_declares_its_answer(route: Route) -> None:
    assert route.answer is not None


async def test_an_answer_that_is_not_as_declared_is_found(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    assert api.app is not None
    routes = api.app[ROUTES]
    (served,) = [served for served, route in routes.items() if route.path == "/reserve"]
    routes[served] = routes[served]._replace(answer=int)
    assert (await api.post("/api/v1/reserve", json=callback())).status == 200
    assert len(WRONG_ANSWERS) == 1
    WRONG_ANSWERS.clear()
