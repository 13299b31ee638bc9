"""Headers: what a caller may put into them, and what every answer says to browsers."""

import itertools
import json
import logging
from typing import Any

import pytest

from service.logs import RequestLine
from service.settings import ROOT
from tests.support.aliases import Api, Serve, Stocked
from tests.support.builders import FEED, HANDSHAKE, RESERVE, bearer, callback, create_key
from tests.support.wire import exchange, head_of

READ = (
    "Access-Control-Request-Headers", "Access-Control-Request-Method", "Authorization",
    "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host",
    "Idempotency-Key", "Origin", "Sec-WebSocket-Extensions", "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol", "Sec-WebSocket-Version", "Transfer-Encoding", "Upgrade",
    "X-Forwarded-For", "X-Request-ID", "webhook-id", "webhook-signature", "webhook-timestamp",
)  # fmt: skip
IGNORED = ("Accept", "Cookie", "Forwarded", "If-Match", "Range", "Referer", "User-Agent")
PROTECTION = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "Holdfast",
    "X-Content-Type-Options": "nosniff",
}
REQUESTS = {
    "callback": (b"POST /api/v1/reserve HTTP/1.1", json.dumps(callback()).encode()),
    "preflight": (b"OPTIONS /api/v1/reserve HTTP/1.1", b""),
    "feed": (b"GET /api/v1/ws/stores/main HTTP/1.1", b""),
    "payment": (b"POST /api/v1/payment/webhook HTTP/1.1", b"{}"),
    "unknown path": (b"GET /nothing HTTP/1.1", b""),
    "unknown method": (b"DELETE /api/v1/reserve HTTP/1.1", b""),
}


def written(kind: str, changes: dict[str, bytes]) -> bytes:
    """A request of a kind with some headers changed, as it goes over the wire."""
    line, body = REQUESTS[kind]
    headers = {"Host": b"x", "Connection": b"close"}
    if body:
        headers |= {"Content-Type": b"application/json", "Content-Length": b"%d" % len(body)}
    if kind == "feed":
        headers |= {name: value.encode() for name, value in HANDSHAKE.items()}
    lines = [line, *(b"%s: %s" % (n.encode(), v) for n, v in (headers | changes).items())]
    return b"\r\n".join([*lines, b"", body])


@pytest.mark.parametrize("kind", REQUESTS)
async def test_bytes_that_are_no_ascii_are_400_or_ignored(
    api: Api, stocked: Stocked, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    await stocked({"7": 5})
    caplog.set_level(logging.ERROR)
    unchanged, _ = await exchange(api, written(kind, {}))
    for name, value in itertools.product(READ + IGNORED, (b"\xff", b"a\xe9b", "ключ".encode())):
        value += b", close" if name == "Connection" else b""
        head, body = await exchange(api, written(kind, {name: value}))
        status = int(head.split()[1])
        assert status < 500, (name, value)
        assert status < 400 or json.loads(body)["status"] == "error"
        if name in IGNORED:
            assert head.split()[1] == unchanged.split()[1]
    assert not caplog.records


@pytest.mark.parametrize("expect", [b"something", b"100-continue, more", b"\xff"])
@pytest.mark.parametrize("kind", ["callback", "unknown path"])
async def test_an_expectation_we_cannot_meet_is_4xx_in_the_one_shape(
    api: Api, stocked: Stocked, kind: str, expect: bytes
) -> None:
    await stocked({"7": 5})
    head, body = await exchange(api, written(kind, {"Expect": expect}))
    assert int(head.split()[1]) in (400, 417)
    assert json.loads(body)["status"] == "error"


async def test_long_headers_are_refused_before_they_are_whole(api: Api) -> None:
    line = b"X-Padding: " + b"x" * 8000 + b"\r\n"
    head, body = await exchange(api, b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + line * 5)
    assert head.startswith("HTTP/1.1 400")
    assert json.loads(body)["code"] == "bad_request"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health/live", 200),
        ("POST", "/api/v1/reserve", 422),
        ("GET", "/api/v1/stores/main", 200),
        ("GET", "/api/v1/stores/main/xlsx_report", 200),
        ("GET", "/api/v1/users/reset?token=x", 200),
        ("GET", "/api/v1/users/me", 401),
        ("GET", "/nothing", 404),
        ("DELETE", "/health/live", 405),
    ],
)
async def test_every_answer_protects_browsers(
    api: Api, stocked: Stocked, method: str, path: str, status: int
) -> None:
    await stocked({"7": 5})
    response = await api.request(method, path, json={} if method == "POST" else None)
    assert response.status == status
    headers = dict(response.headers)
    if path.startswith("/api/v1/users/reset"):
        assert "frame-ancestors 'none'" in headers.pop("Content-Security-Policy")
    for name, value in PROTECTION.items():
        assert headers.get(name, value) == value
    assert headers.keys() >= PROTECTION.keys() - {"Content-Security-Policy"}
    assert "ython" not in str(headers)


async def test_malformed_http_is_answered_and_logged_like_all_else(
    api: Api, request_lines: list[RequestLine]
) -> None:
    head, body = await exchange(api, b"nonsense\r\n\r\n")
    headers = head_of(head)
    assert headers.items() >= {name.lower(): value for name, value in PROTECTION.items()}.items()
    assert json.loads(body)["code"] == "bad_request"
    (line,) = request_lines
    assert (line.status, line.code) == (400, "bad_request")
    assert line.request_id == headers["x-request-id"]


async def test_a_socket_tells_no_version(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    socket = await api.session.ws_connect(api.make_url(FEED + "main"))
    assert socket._response.headers["Server"] == "Holdfast"
    await socket.close()


async def test_the_request_line_names_the_caller(
    serve: Serve, stocked: Stocked, sql: Any, request_lines: list[RequestLine]
) -> None:
    await stocked({"7": 5})
    api = await serve()
    key = await create_key(sql)
    key_id = await sql.fetchval("SELECT key_id FROM api_keys")
    await api.post(RESERVE, json=callback(), headers=bearer(key))
    await api.post(RESERVE, json=callback(), headers=bearer("nonsense"))
    await api.post(RESERVE, json=callback())
    assert [line.caller for line in request_lines] == [f"key:{key_id}", "", "anonymous"]


def test_handlers_send_headers_through_the_boundary_alone() -> None:
    for module in (ROOT / "service" / "domains").glob("*.py"):
        assert ".prepare(" not in module.read_text(), module
