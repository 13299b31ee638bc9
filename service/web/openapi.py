"""The OpenAPI 3.1 document, made from the declarations that serve: nothing is described twice.

https://spec.openapis.org/oas/v3.1.0. What a route declares is all that is in it: path, audience,
scope, query, body, answer, codes. `x-audience` and `x-scope` say who may call.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from aiohttp import web

from service import __version__
from service.results import RESULTS
from service.web.bodies import OutsideId
from service.web.context import ROUTES, SETTINGS
from service.web.responses import json_response
from service.web.routing import API, EVERYONE, NUMBERED, Handler, Route, Routes

REF = "#/components/schemas/{name}"
ERROR = {
    "type": "object",
    "description": "The one shape of every error. The ids and facts concerned stand beside these.",
    "required": ["status", "code", "message", "detail"],
    "properties": {
        "status": {"const": "error"},
        "code": {"type": "string", "description": "What happened: never reused, see docs."},
        "message": {"type": "string", "description": "The code in words, always the same."},
        "detail": {"type": "string", "description": "What exactly, in this case."},
        "errors": {
            "type": "array",
            "description": "Of what is invalid: each wrong field, 20 at most.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
    "additionalProperties": True,
}
TAGS = (
    *("reservations", "stock", "stores", "feed", "reports", "catalog", "orders", "accounts"),
    *("bookings", "webhooks", "sessions", "users", "keys"),
)
"""The order of chapters; what is not named comes after."""
AROUND = "around"
"""The chapter of what is of no domain."""
ALWAYS = (
    *("bad_request", "overloaded", "conflict", "database_busy", "database_timeout"),
    *("database_unavailable", "shutting_down"),
)
"""What every route may answer."""
OF_BODIES = (
    *("malformed_json", "unsupported_media_type", "body_too_large", "invalid_body"),
    *("request_timeout", "expectation_failed"),
)
SAID = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}},
}
"""Headers of errors, by status."""
SAID[503] = SAID[429]
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A repeat with the same key gets the first answer to the letter.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

routes = Routes(API)


@routes.get("/openapi.json", EVERYONE, answer=dict[str, Any])
async def openapi_document(request: web.Request) -> web.Response:
    """This document."""
    return json_response(_written(request.app))


@cache
def _written(app: web.Application) -> str:
    is_development = app[SETTINGS].environment == "development"
    return msgspec.json.encode(document(app[ROUTES], is_development)).decode()


def document(declared: dict[Handler, Route], is_development: bool = False) -> dict[str, Any]:
    """The whole document of an application's routes; development opens some of them."""
    found = [each for each in declared.values() if each.is_documented and not each.is_file]
    types = [
        each
        for route in found
        for each in (route.body or route.read_as, route.answer, route.query)
        if each
    ]
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_schema_of, ref_template=REF
    )
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in found:
        for prefix in route.prefixes:
            operation = _operation(route, prefix, by_type, components)
            if is_development and route.opens:
                operation["security"] = [{}, {"bearer": []}]
            paths[prefix + route.path][route.method.lower()] = operation
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": __version__,
            "summary": "Reserves stock, money and tables so that they cannot be sold twice.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": _tags(found),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {**components, "Error": ERROR},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A user's token (POST /auth) or an API key (hf_…).",
                }
            },
        },
    }
    mended: dict[str, Any] = _mend(content)
    return mended


def _tags(found: Iterable[Route]) -> list[dict[str, str]]:
    """The chapters, each told by its module."""
    words = {_tag_of(each): inspect.getdoc(inspect.getmodule(each.handler)) or "" for each in found}
    words[AROUND] = "Health, and the API told: its document, and its pages."
    order = [*(each for each in TAGS if each in words), *sorted(words.keys() - {*TAGS})]
    return [{"name": name, "description": words[name].partition("\n\n")[0]} for name in order]


def _tag_of(route: Route) -> str:
    """Its domain's name; what is of no domain stands together."""
    module = route.handler.__module__
    return module.rpartition(".")[2] if ".domains." in module else AROUND


def _operation(
    route: Route, prefix: str, by_type: Mapping[int, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    words = inspect.getdoc(route.handler) or ""
    name = route.handler.__name__
    parameters = [_in_path(each) for each in re.findall(r"\{(\w+)\}", prefix + route.path)]
    if route.query:
        parameters += _in_query(components[by_type[id(route.query)]["$ref"].rpartition("/")[2]])
    if route.takes_key:
        parameters.append(KEY)
    operation: dict[str, Any] = {
        "operationId": name if "{store_id}" not in prefix else f"{name}_of_store",
        "tags": [_tag_of(route)],
        "summary": words.partition("\n")[0],
        "responses": _responses(route, by_type),
        "security": [{}] if "anonymous" in route.audience else [{"bearer": []}],
        "x-audience": sorted(route.audience),
    }
    if route.scope:
        operation["x-scope"] = route.scope
    if parameters:
        operation["parameters"] = parameters
    if body := route.body or route.read_as:
        operation["requestBody"] = {
            "required": route.absent_body is None,
            "content": {"application/json": {"schema": by_type[id(body)]}},
        }
    return operation


def _in_path(name: str) -> dict[str, Any]:
    is_number = name.removesuffix("_id") in NUMBERED
    schema = {"type": "integer", "minimum": 1} if is_number else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(struct: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each field of a query's struct."""
    required = struct.get("required", ())
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _without_null(schema)}
        for name, schema in struct["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """An absent parameter is left out, not null."""
    kinds = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name not in ("anyOf", "default")}
    return {**rest, **kinds[0]} if len(kinds) == 1 else schema


def _responses(route: Route, by_type: Mapping[int, Any]) -> dict[str, Any]:
    """By status: the answer, and the errors with their codes."""
    codes: dict[int, list[str]] = defaultdict(list)
    for code in (*route.codes, *route.also, *_codes_of_all(route)):
        codes[RESULTS[code].status].append(code)
    answers: dict[str, Any] = {}
    if not any(status < 400 for status in codes):
        codes[101 if route.is_socket else 200] = []
    for status, named in sorted(codes.items()):
        if status < 400:
            answers[str(status)] = {"description": "Done."}
            if route.answer is not None:
                schema = {"schema": by_type[id(route.answer)]}
                answers[str(status)]["content"] = {"application/json": schema}
            elif route.media:
                answers[str(status)]["content"] = _page(route)
            continue
        said = "; ".join(f"`{code}`: {RESULTS[code].message}" for code in dict.fromkeys(named))
        named = sorted(set(named))
        schema = {"$ref": REF.format(name="Error"), "properties": {"code": {"enum": named}}}
        answers[str(status)] = {
            "description": said,
            "content": {"application/json": {"schema": schema}},
        }
        if status in SAID:
            answers[str(status)]["headers"] = SAID[status]
    for status in route.pages:
        told = answers.setdefault(str(status), {"description": "Told by a page.", "content": {}})
        told["content"] |= _page(route)
    return answers


def _page(route: Route) -> dict[str, Any]:
    return {route.media: {"schema": {"type": "string"}}}


def _codes_of_all(route: Route) -> Iterable[str]:
    """What follows from the declaration itself."""
    yield from ALWAYS
    if route.method != "GET":
        yield "outcome_unknown"
        yield "forbidden_origin"
    if "anonymous" not in route.audience:
        yield from ("unauthorized", "forbidden", "not_found")
    if "{" in "".join(route.prefixes) + route.path:
        yield from ("invalid_path", "not_found")
    if route.body is not None or route.read_as is not None or route.method != "GET":
        yield from OF_BODIES
    if route.query is not None:
        yield "invalid_query"
    if route.takes_key:
        yield from ("request_in_progress", "idempotency_key_reused", "invalid_header")
    if route.method == "POST" and route.audience == EVERYONE and not route.is_unlimited:
        yield "too_many_requests"


def _schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type with a parser of its own."""
    try:
        return dict(kind.SCHEMA)
    except AttributeError:
        raise NotImplementedError(kind) from None


def _mend(node: Any) -> Any:
    """JSON Schema knows no \\Z; msgspec needs it, since its $ lets a line break pass.

    Halves of surrogate pairs, which OutsideId names, are no text of JSON anyway.
    """
    if isinstance(node, dict):
        if node.get("pattern") == OutsideId.PATTERN:
            return {**node, **OutsideId.SCHEMA}
        return {
            name: value.replace("\\Z", "$") if name == "pattern" else _mend(value)
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_mend(each) for each in node]
    return node
