"""Answers: a result code, or the document that the database built, as JSON."""

from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from service.results import RESULTS, error_body

CODE = web.ResponseKey("CODE", str)
"""The result code of an answer, for the log."""
PROTECTION = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What every answer says to browsers, and to whatever stands between, unless it says otherwise."""
JSON_HEADERS = CIMultiDict({"Content-Type": "application/json; charset=utf-8", **PROTECTION})
STATUS_HEADERS = {
    401: CIMultiDict({**JSON_HEADERS, "WWW-Authenticate": "Bearer"}),
    429: CIMultiDict({**JSON_HEADERS, "Retry-After": "1"}),
    503: CIMultiDict({**JSON_HEADERS, "Retry-After": "1"}),
}
ENCODER = msgspec.json.Encoder(enc_hook=str)
ERROR_FIELDS = frozenset(error_body("internal_error"))
"""What every error has; no fact of a function goes by these names."""


def respond(row: Any, detail: str = "", /, **ids: Any) -> web.Response:
    """What a function answered: its document, or the error that its code means.

    An error tells the ids concerned, and the facts that the function's document holds; `detail`
    stands for what is said of its code elsewhere.
    """
    result = RESULTS[row.result_code]
    if result.status < 400:
        return json_response(row.document, result.status, row.result_code)
    facts = msgspec.json.decode(row.document) if row.document else {}
    fields = {name: value for name, value in (ids | facts).items() if name not in ERROR_FIELDS}
    return respond_code(row.result_code, detail, **fields)


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


def json_response(content: object, status: int = 200, code: str = "ok") -> web.Response:
    """JSON, from an object or from text that the database built; `code` goes to the log."""
    body = content.encode() if isinstance(content, str) else ENCODER.encode(content)
    headers = STATUS_HEADERS.get(status, JSON_HEADERS)
    response = web.Response(body=body, status=status, headers=headers)
    response[CODE] = code
    return response


def as_bytes(response: web.Response) -> bytes:
    """An error as it goes over the wire where there is no request yet; the connection ends."""
    assert isinstance(response.body, bytes)
    response.headers.update({"Content-Length": str(len(response.body)), "Connection": "close"})
    headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{headers}\r\n".encode() + response.body
