"""Writes docs/api.md from the OpenAPI document: `make docs`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.app import create_app
from service.database.pool import Database
from service.settings import ROOT, Settings
from service.web.context import ROUTES
from service.web.openapi import document
from service.web.routing import STORE_API

FILE = ROOT / "docs" / "api.md"
HEAD = """# The API

Made from the OpenAPI document by `make docs`; `/docs` shows the same with every schema, and
`/docs/swagger` lets you try it. What each code means and what to do about it is in
[errors.md](errors.md). Every answer may also be 503 with `Retry-After`, or 400 `bad_request`.

*Store*: the path exists below `/api/v1/stores/{store_id}` as well, for that store; without it the
default store is meant (`HOLDFAST_STORE`). *Key*: it takes an `Idempotency-Key`. Who may call is
named by role, `service` being an API key; *scope* is what the key must have been given.
*Open in development*: without credentials there.
"""
EVERYWHERE = {"400", "408", "413", "415", "417", "503"}
"""Statuses that are not repeated for each operation."""


def reference() -> str:
    """The whole page."""
    declared = create_app(Settings(), Database(""))[ROUTES]
    opened = {
        prefix + route.path: route.opens for route in declared.values() for prefix in route.prefixes
    }
    made = document(declared)
    schemas = made["components"]["schemas"]
    parts = [HEAD]
    for tag in made["tags"]:
        parts.append(f"\n## {tag['name'].capitalize()}\n\n{tag['description']}\n")
        for path, methods in made["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"] and not operation["operationId"].endswith(
                    "_of_store"
                ):
                    named = path.replace("/api/v1", STORE_API, 1) in made["paths"]
                    title = f"\n### {method.upper()} {path}\n"
                    parts.append(title)
                    parts += _told(operation, schemas, named, opened.get(path, False))
    return "\n".join(parts) + "\n"


def _told(
    operation: dict[str, Any], schemas: dict[str, Any], has_store: bool, is_open: bool
) -> Iterator[str]:
    yield operation["summary"] + "\n"
    parameters = operation.get("parameters", [])
    has_key = any(each["in"] == "header" for each in parameters)
    who = "everybody" if {} in operation["security"] else ", ".join(operation["x-audience"])
    marks = [
        f"*{who}*",
        *(["*scope* `" + operation["x-scope"] + "`"] if "x-scope" in operation else []),
        *(["*open in development*"] if is_open else []),
        *(["*store*"] if has_store else []),
        *(["*key*"] if has_key else []),
    ]
    yield " · ".join(marks) + "\n"
    asked = [each for each in parameters if each["in"] == "query"]
    if asked:
        yield "- query: " + ", ".join(_field(each["name"], each["required"]) for each in asked)
    if body := operation.get("requestBody"):
        yield f"- body: {_shape(body['content']['application/json']['schema'], schemas)}"
    for status, answer in operation["responses"].items():
        if status in EVERYWHERE:
            continue
        content = answer.get("content", {})
        json = content.get("application/json", {}).get("schema")
        if int(status) < 400:
            other = ", ".join(f"`{kind}`" for kind in content if kind != "application/json")
            yield f"- {status}: {_shape(json, schemas) if json else other or 'done'}"
        else:
            codes = json["properties"]["code"]["enum"] if json else []
            yield f"- {status}: " + (", ".join(f"`{code}`" for code in codes) or "a page")


def _shape(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """The fields of an object, those that may be absent with a question mark."""
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    if schema.get("type") == "array":
        return f"an array of {_shape(schema['items'], schemas)}"
    if "properties" not in schema:
        return "any" if not schema.get("type") else f"{schema['type']}"
    required = schema.get("required", ())
    fields = ", ".join(_field(name, name in required) for name in schema["properties"])
    return f"`{{` {fields} `}}`" if fields else "`{}`"


def _field(name: str, is_required: bool) -> str:
    return f"`{name}`" + ("" if is_required else "?")


def write(file: Path = FILE) -> None:
    """Write the page."""
    file.write_text(reference(), "utf-8")


if __name__ == "__main__":
    write()
