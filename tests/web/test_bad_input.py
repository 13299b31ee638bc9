"""What a caller may get wrong: a clear 4xx in the one shape, and nothing written."""

import asyncio
import gzip
import io
import json
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from service.web import bodies
from tests.support.aliases import Api
from tests.support.builders import callback

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(callback())
# fmt: off
WRONG_IDS: list[Any] = [
    "", "0", "01", "-1", "+1", "1.0", "1e3", " 1", "1 ", "1\n", "abc", "\u0663",
    "9223372036854775808", "1" * 20, 7, None, True, ["1"],
]
WRONG_TIMESTAMPS: list[Any] = [
    "", "now", "2026-11-21", "2026-11-21T10:00:00", "2026-11-21T10:00:00+02:00",
    "2026-11-21 10:00:00Z", "2026-11-21t10:00:00z", "2026-13-21T10:00:00Z",
    "2026-02-30T10:00:00Z", "2026-11-21T24:00:01Z", "2026-11-21T10:00:00Z\n",
    "2026-11-21T10:00:00.Z", "\u0662026-11-21T10:00:00Z", "0000-01-01T00:00:00Z", 5, None,
]
# fmt: on
WRONG_QUANTITIES: list[Any] = [
    *(1.9, 1.0, True, "1", 0, -1, None, [], {}),
    *(2**31, 2**63, 2**64, 10**30),
]


@pytest.fixture
async def shop(api: Api, stocked: Callable[..., Awaitable[None]], sql: Any) -> Any:
    """A client; at the end nothing may have been written."""
    await stocked({"7": 5})
    yield api
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0
    assert (await api.get("/health/ready")).status == 200


async def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = await response.json()
    assert (response.status, body["status"], body["code"]) == (status, "error", code)
    assert body["message"]
    assert body["detail"]
    return body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.encode()[:-1] + b',"x":"\xff"}',
        GOOD.encode() + b"x",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        *(b'{"x":' + b"[" * depth + b"]" * depth + b"}" for depth in (64, 990, 5000, 9000)),
        GOOD.replace('"quantity": 3', '"quantity": ' + "9" * 5000).encode(),
        GOOD.replace('"quantity": 3', '"quantity": 3, "quantity": 3').encode(),
        GOOD.replace('"quantity": 3', '"quantity": 3, "quantit\\u0079": 3').encode(),
        GOOD.replace('"quantity": 3', '"x": 3, "quantity": ' + "9" * 101).encode(),
        GOOD.replace('"quantity": 3', '"quantity": NaN').encode(),
        GOOD.replace('"quantity": 3', '"quantity": Infinity').encode(),
        GOOD.replace('"quantity": 3', '"quantity": -Infinity').encode(),
        GOOD.replace('"quantity": 3', '"quantity": 1e999').encode(),
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_malformed_json_is_400(shop: Api, body: bytes) -> None:
    response = await shop.post("/api/v1/reserve", data=body, headers=JSON)
    await refused(response, 400, "malformed_json")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("quantity", value) for value in WRONG_QUANTITIES),
        *(("reservation_id", value) for value in WRONG_IDS),
        *(("product_id", value) for value in WRONG_IDS),
        *(("timestamp", value) for value in WRONG_TIMESTAMPS),
        ("extra", 1),
    ],
)
async def test_invalid_fields_are_422_by_name(shop: Api, field: str, value: Any) -> None:
    response = await shop.post("/api/v1/reserve", json=callback(**{field: value}))
    body = await refused(response, 422, "invalid_body")
    assert [error["field"] for error in body["errors"]] == [field]
    assert body["errors"][0]["message"]


async def test_every_wrong_field_is_named_at_once(shop: Api) -> None:
    response = await shop.post("/api/v1/reserve", json={"quantity": 0, "product_id": 1, "x": 2})
    body = await refused(response, 422, "invalid_body")
    fields = sorted(error["field"] for error in body["errors"])
    assert fields == ["product_id", "quantity", "reservation_id", "timestamp", "x"]


@pytest.mark.parametrize("body", ["[]", "1", '"text"', "null", "[" + GOOD + "]"])
async def test_something_other_than_an_object_is_422(shop: Api, body: str) -> None:
    response = await shop.post("/api/v1/reserve", data=body, headers=JSON)
    await refused(response, 422, "invalid_body")


@pytest.mark.parametrize("escape", ["\\u0000", "\\ud800", "\\udfff", "\\ud800\\ud800"])
async def test_text_that_cannot_be_stored_is_422(shop: Api, escape: str) -> None:
    body = GOOD.replace("1001", escape)
    response = await shop.post("/api/v1/reserve", data=body, headers=JSON)
    await refused(response, 422, "invalid_body")


@pytest.mark.parametrize("path", ["%00", "a%00b", "1%00"])
async def test_nul_in_a_path_is_422(shop: Api, path: str) -> None:
    await refused(await shop.get(f"/api/v1/reserve/{path}"), 422, "invalid_path")
    await refused(await shop.get(f"/api/v1/stores/{path}/reserve/1"), 422, "invalid_path")


@pytest.mark.parametrize(
    "path", ["%ff", "%ed%a0%80", "%F0%9F%98%80", "x" * 3000, "%2e%2e", "a%3Ab"]
)
async def test_strange_ids_in_a_path_are_unknown(shop: Api, path: str) -> None:
    response = await shop.get(f"/api/v1/reserve/{path}")
    assert response.status in (404, 422)
    assert (await response.json())["status"] == "error"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json; charset=no-such-thing"},
    ],
)
async def test_other_kinds_of_content_are_415(shop: Api, headers: dict[str, str]) -> None:
    response = await shop.post("/api/v1/reserve", data=GOOD.encode(), headers=headers)
    await refused(response, 415, "unsupported_media_type")


async def test_a_body_over_one_mebibyte_is_413(shop: Api) -> None:
    body = io.BytesIO(GOOD.encode() + b" " * 1024 * 1024)
    response = await shop.post("/api/v1/reserve", data=body, headers=JSON)
    await refused(response, 413, "body_too_large")


async def test_a_body_of_chunks_over_one_mebibyte_is_413(shop: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65_536

    response = await shop.post("/api/v1/reserve", data=chunks(), headers=JSON)
    await refused(response, 413, "body_too_large")


async def test_a_whole_body_is_measured_too(shop: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_BYTES", 10)
    response = await shop.post("/api/v1/reserve", json=callback())
    await refused(response, 413, "body_too_large")


async def test_a_body_that_says_it_is_too_large_is_413_at_once(shop: Api) -> None:
    sent = HEAD + b"Content-Length: 1048577\r\n\r\n{"
    async with asyncio.timeout(bodies.READ_SECONDS / 2):
        head, _, body = (await exchange(shop, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"\r\nConnection: close" in head
    assert json.loads(body)["code"] == "body_too_large"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity", "", "gzip, gzip"])
async def test_compressed_bodies_are_415_and_not_unpacked(shop: Api, encoding: str) -> None:
    bomb = gzip.compress(b" " * 200 * 1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF)
    headers = JSON | {"Content-Encoding": encoding}
    async with aiohttp.ClientSession() as session:
        url = shop.make_url("/api/v1/reserve")
        response = await session.post(url, data=bomb, headers=headers)
        await refused(response, 415, "unsupported_media_type")
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - before.ru_maxrss < 32 * 1024  # KiB
    assert after.ru_utime - before.ru_utime < 0.5


async def exchange(api: Api, sent: bytes) -> bytes:
    """What the server answers to raw bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
    writer.write(sent)
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    return answer


HEAD = b"POST /api/v1/reserve HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        HEAD.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        HEAD + b"X: a\rb\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["cl+te", "two cl", "bare lf", "negative cl", "bad chunk", "bare cr", "tls"],
)
async def test_smuggling_is_400_in_the_one_shape_and_closed(shop: Api, sent: bytes) -> None:
    answer = await exchange(shop, sent)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert json.loads(body)["status"] == "error"


async def test_slow_senders_are_cut_off(shop: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.web.protocol.HEADER_SECONDS", 0.2)
    monkeypatch.setattr("service.web.bodies.READ_SECONDS", 0.2)
    assert await exchange(shop, b"") == b""
    assert await exchange(shop, b"POST /api") == b""
    answer = await exchange(shop, HEAD + b"Content-Length: 50\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer


async def test_unknown_paths_and_methods_have_the_one_shape(shop: Api) -> None:
    await refused(await shop.get("/nothing/here"), 404, "not_found")
    response = await shop.put("/api/v1/reserve", json=callback())
    await refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize("given", ["", "a" * 129, "tab\there"])
async def test_an_odd_request_id_is_replaced(shop: Api, given: str) -> None:
    response = await shop.get("/health/live", headers={"X-Request-ID": given})
    assert len(response.headers["X-Request-ID"]) == 16


async def test_a_request_id_comes_back(shop: Api) -> None:
    response = await shop.get("/health/live", headers={"X-Request-ID": "order-17/a"})
    assert response.headers["X-Request-ID"] == "order-17/a"


@pytest.mark.parametrize("limit", ["1e2", "1E2", "10.0", "1e-1", " 1", "+1", "0x1", "", "٣"])
async def test_numbers_of_a_query_are_written_as_integers(api: Api, limit: str) -> None:
    for name in ("limit", "after"):
        response = await api.get("/api/v1/tables", params={name: limit})
        assert (response.status, (await response.json())["code"]) == (422, "invalid_query")
