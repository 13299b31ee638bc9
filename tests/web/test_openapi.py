"""The OpenAPI document: valid, whole, and made of the declarations that serve."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.app import create_app
from service.database.pool import Database
from service.settings import Settings
from service.web.context import ROUTES
from service.web.openapi import document
from tests.support.aliases import Api, Serve
from tests.support.builders import SECRET

DECLARED = create_app(Settings(), Database(""))[ROUTES]


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document(DECLARED)


def test_it_is_valid_openapi_3_1(made: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(made).validate()


def test_every_route_is_in_it_with_body_answer_codes_and_audience(made: dict[str, Any]) -> None:
    for route in DECLARED.values():
        if route.is_file or not route.is_documented:
            continue
        for prefix in route.prefixes:
            operation = made["paths"][prefix + route.path][route.method.lower()]
            assert operation["x-audience"] == sorted(route.audience)
            has_body = route.body is not None or route.read_as is not None
            assert ("requestBody" in operation) == has_body
            assert operation["summary"], route.path
            said = str(operation["responses"])
            assert all(f"`{code}`" in said for code in route.codes if not is_success(code))
            if route.answer is not None:
                assert "content" in next(iter(operation["responses"].values()))


def is_success(code: str) -> bool:
    return code in ("ok", "created", "replayed") or code.startswith("already_")


def test_operations_have_names_of_their_own(made: dict[str, Any]) -> None:
    names = [op["operationId"] for path in made["paths"].values() for op in path.values()]
    assert len(names) == len(set(names))


def test_no_pattern_is_pythons_own(made: dict[str, Any]) -> None:
    assert "\\Z" not in str(made)


async def test_it_is_served(api: Api, made: dict[str, Any]) -> None:
    response = await api.get("/api/v1/openapi.json")
    assert response.status == 200
    assert (await response.json())["paths"].keys() == made["paths"].keys()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/users/me", "GET"),
        ("GET", "/bookings/move", "POST"),
        ("DELETE", "/users/me/sessions", "GET"),
        ("GET", "/products/buy", "POST"),
        ("PUT", "/stores/main/users/activation", "GET"),
    ],
)
async def test_a_word_of_a_path_is_no_id(api: Api, method: str, path: str, allowed: str) -> None:
    response = await api.request(method, f"/api/v1{path}")
    assert (response.status, response.headers["Allow"]) == (405, allowed)


async def test_development_says_which_routes_ask_for_no_credentials(serve: Serve) -> None:
    bearer: dict[str, list[str]] = {"bearer": []}
    for environment, security in (("development", [{}, bearer]), ("production", [bearer])):
        api = await serve(environment=environment, jwt_secret=SECRET)
        made = await (await api.get("/api/v1/openapi.json")).json()
        assert made["paths"]["/api/v1/reserve"]["post"]["security"] == security
        assert made["paths"]["/api/v1/users"]["get"]["security"] == [bearer]


@pytest.mark.parametrize("path", ["tables?kind=null", "reservations?status=null"])
async def test_the_word_null_is_no_value_of_a_query(api: Api, path: str) -> None:
    response = await api.get(f"/api/v1/{path}")
    assert (response.status, (await response.json())["code"]) == (422, "invalid_query")
