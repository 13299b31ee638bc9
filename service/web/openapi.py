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
from service.web.context import ROUTES
from service.web.responses import json_response
from service.web.routing import API, EVERYONE, Handler, Route, Routes

REF = "#/components/schemas/{name}"
NUMBERED = frozenset(
    {"user", "account", "table", "booking", "key", "session", "hook", "delivery", "message"}
)
"""What has an id that was made here: a number. Other ids are texts chosen outside."""
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
ALWAYS = ("overloaded", "conflict", "database_busy", "database_unavailable", "shutting_down")
"""What every route that asks the database may answer."""
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A repeat with the same key gets the first answer to the letter.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}

routes = Routes(API)


@routes.get("/openapi.json", EVERYONE)
async def openapi_document(request: web.Request) -> web.Response:
    """This document."""
    return json_response(_written(request.app))


@cache
def _written(app: web.Application) -> str:
    return msgspec.json.encode(document(app[ROUTES])).decode()


def document(declared: dict[Handler, Route]) -> dict[str, Any]:
    """The whole document of an application's routes."""
    found = [each for each in declared.values() if each.is_documented and not each.is_file]
    types = [each for route in found for each in (route.body, route.answer, route.query) if each]
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_schema_of, ref_template=REF
    )
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in found:
        for prefix in route.prefixes:
            operation = _operation(route, prefix, by_type, components)
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
    if route.body:
        operation["requestBody"] = {
            "required": route.absent_body is None,
            "content": {"application/json": {"schema": by_type[id(route.body)]}},
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
    for code in (*route.codes, *_codes_of_all(route)):
        codes[RESULTS[code].status].append(code)
    answers: dict[str, Any] = {}
    if not any(status < 400 for status in codes):
        codes[200] = []
    for status, named in sorted(codes.items()):
        if status < 400:
            answers[str(status)] = {"description": "Done."}
            if route.answer is not None:
                schema = {"schema": by_type[id(route.answer)]}
                answers[str(status)]["content"] = {"application/json": schema}
            elif route.media:
                answers[str(status)]["content"] = {route.media: {"schema": {"type": "string"}}}
            continue
        said = "; ".join(f"`{code}`: {RESULTS[code].message}" for code in dict.fromkeys(named))
        schema = {"allOf": [{"$ref": REF.format(name="Error")}]}
        answers[str(status)] = {
            "description": said,
            "content": {"application/json": {"schema": schema}},
        }
    return answers


def _codes_of_all(route: Route) -> Iterable[str]:
    """What follows from the declaration itself."""
    yield from ALWAYS
    yield "outcome_unknown" if route.method != "GET" else "database_timeout"
    if "anonymous" not in route.audience:
        yield from ("unauthorized", "forbidden", "not_found")
    if route.body is not None:
        yield from ("malformed_json", "unsupported_media_type", "body_too_large", "invalid_body")
    if route.query is not None:
        yield "invalid_query"
    if route.takes_key:
        yield from ("request_in_progress", "idempotency_key_reused")
    if route.method == "POST" and route.audience == EVERYONE and not route.is_unlimited:
        yield "too_many_requests"


def _schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a type with a parser of its own."""
    try:
        return dict(kind.SCHEMA)
    except AttributeError:
        raise NotImplementedError(kind) from None


def _mend(node: Any) -> Any:
    """JSON Schema knows no \\Z; msgspec needs it, since its $ lets a line break pass."""
    if isinstance(node, dict):
        return {
            name: value.replace("\\Z", "$") if name == "pattern" else _mend(value)
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_mend(each) for each in node]
    return node
