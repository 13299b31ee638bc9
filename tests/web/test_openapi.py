"""The OpenAPI document: valid, whole, and made of the declarations that serve."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.app import create_app
from service.database.pool import Database
from service.settings import Settings
from service.web.context import ROUTES
from service.web.openapi import document
from tests.support.aliases import Api

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
            assert ("requestBody" in operation) == (route.body is not None)
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
