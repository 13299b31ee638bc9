"""Answers: a result code, or the document that the database built, as JSON."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from service.results import RESULTS, error_body

CODE = web.ResponseKey("CODE", str)
"""The result code of an answer, for the log."""
STATUS_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "1"},
    503: {"Retry-After": "1"},
}
ENCODER = msgspec.json.Encoder(enc_hook=str)
ERROR_FIELDS = frozenset(error_body("internal_error"))
"""What every error has; no fact of a function goes by these names."""
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
JSON_HEADERS = {"Content-Type": "application/json; charset=utf-8"}


def respond(row: Any, **ids: Any) -> web.Response:
    """What a function answered: its document, or the error that its code means.

    An error tells the ids concerned, and the facts that the function's document holds.
    """
    result = RESULTS[row.result_code]
    if result.status < 400:
        return json_response(row.document, result.status, row.result_code)
    facts = msgspec.json.decode(row.document) if row.document else {}
    fields = {name: value for name, value in (ids | facts).items() if name not in ERROR_FIELDS}
    return respond_code(row.result_code, **fields)


def respond_code(code: str, detail: str = "", **fields: Any) -> web.Response:
    """The answer to a result code: success with `fields`, or the error shape with them."""
    result = RESULTS[code]
    if result.status < 400:
        return json_response(
            {"status": "success", "message": result.message, **fields}, result.status, code
        )
    response = json_response(error_body(code, detail, **fields), result.status, code)
    if "retry_after" in fields:
        response.headers["Retry-After"] = str(fields["retry_after"])
    return response


def private_response(content: object, status: int = 200, code: str = "ok") -> web.Response:
    """JSON that holds a secret, or tells what was done by one: nobody else's to keep."""
    response = json_response(content, status, code)
    response.headers.update(PRIVATE)
    return response


def json_response(content: object, status: int = 200, code: str = "ok") -> web.Response:
    """JSON, from an object or from text that the database built; `code` goes to the log."""
    body = content.encode() if isinstance(content, str) else ENCODER.encode(content)
    headers: Mapping[str, str] = JSON_HEADERS
    if status in STATUS_HEADERS:
        headers = {**JSON_HEADERS, **STATUS_HEADERS[status]}
    response = web.Response(body=body, status=status, headers=headers)
    response[CODE] = code
    return response
