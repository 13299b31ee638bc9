"""Who may open a socket, how, and what may come in over it."""

import asyncio
import logging
import os
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError

from service.logs import RequestLine
from service.web import protocol
from service.web.auth import bearer_token
from tests.support.aliases import Api, Serve, Socket, Stocked, Watch
from tests.support.builders import FEED, HANDSHAKE, create_key, told
from tests.support.proxy import link_to


async def closed(socket: Socket) -> int | None:
    """The code that a socket is closed with, after whatever it is told before."""
    async with asyncio.timeout(60):
        async for _ in socket:
            pass
    return socket.close_code


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("nowhere", {}, 404, "unknown_store"),
        ("a:b", {}, 404, "unknown_store"),
        ("%00", {}, 422, "invalid_path"),
        ("main?mode=all", {}, 422, "invalid_query"),
        ("main?mode=report&mode=report", {}, 422, "invalid_query"),
        ("main?modes=report", {}, 422, "invalid_query"),
        ("main", {"Upgrade": "h2c"}, 400, "bad_request"),
        ("main", {"Connection": "keep-alive"}, 400, "bad_request"),
        ("main", {"Sec-WebSocket-Version": "12"}, 400, "bad_request"),
        ("main", {"Sec-WebSocket-Key": "short"}, 400, "bad_request"),
        ("main", {"Sec-WebSocket-Protocol": "chat, bearer.x"}, 401, "unauthorized"),
        ("main", {"Sec-WebSocket-Protocol": ""}, 400, "bad_request"),
        ("main", {"Origin": "https://evil.example"}, 403, "forbidden_origin"),
        ("main", {"Origin": "null"}, 403, "forbidden_origin"),
        ("main", {"Origin": "http://["}, 403, "forbidden_origin"),
        ("main/more", {}, 404, "not_found"),
    ],
)
async def test_a_wrong_handshake_is_refused_in_the_one_shape(
    api: Api, stocked: Stocked, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    await stocked({"1": 5})
    response = await api.get(FEED + path, headers=HANDSHAKE | headers)
    body = await response.json()
    assert (response.status, body["code"], body["status"]) == (status, code, "error")
    assert body["detail"]


async def test_a_plain_request_is_told_that_this_is_a_websocket(api: Api, stocked: Stocked) -> None:
    await stocked({"1": 5})
    response = await api.get(FEED + "main")
    assert response.status == 400
    assert "WebSocket" in (await response.json())["detail"]


async def test_production_opens_no_socket_without_credentials(serve: Serve) -> None:
    api = await serve(environment="production", jwt_secret="s" * 32)
    with pytest.raises(WSServerHandshakeError, match="401"):
        await api.ws_connect(FEED + "main")


async def test_pages_of_our_own_and_of_allowed_sites_may_watch(
    serve: Serve, stocked: Stocked
) -> None:
    await stocked({"1": 5})
    api = await serve(cors_origins="https://shop.example http://localhost:3000")
    own = f"http://{api.host}:{api.port}"
    for origin in (own, own.replace("http:", "https:"), "https://SHOP.example"):
        socket = await api.ws_connect(FEED + "main", origin=origin)
        assert await told(socket) == {"1": (5, 0, 5)}
    for origin in (own + "0", "http://shop.example", "https://shop.example.org", "null"):
        with pytest.raises(WSServerHandshakeError, match="403"):
            await api.ws_connect(FEED + "main", origin=origin)


async def test_a_token_travels_as_a_subprotocol_and_is_neither_sent_back_nor_logged(
    api: Api, stocked: Stocked, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await stocked({"1": 5})
    key = await create_key(sql)
    caplog.set_level(logging.INFO)
    socket = await api.ws_connect(FEED + "main", protocols=("bearer." + key, "holdfast"))
    assert socket.protocol == "holdfast"
    assert await told(socket) == {"1": (5, 0, 5)}
    with pytest.raises(WSServerHandshakeError, match="400"):
        await api.ws_connect(FEED + "main", protocols=("bearer." + key,))
    await socket.close()
    assert not [record for record in caplog.records if key in str(vars(record))]


@pytest.mark.parametrize(
    ("offered", "token"),
    [
        (["holdfast, bearer.a.b-c_d"], "a.b-c_d"),
        (["bearer.hf_1,holdfast"], "hf_1"),
        (["holdfast", "bearer.x"], "x"),
        (["holdfast"], None),
        (["bearer"], None),
        (["Bearer.x"], None),
        (["bearer."], ""),
        ([], None),
    ],
)
def test_the_token_is_found_among_the_subprotocols(offered: list[str], token: str | None) -> None:
    assert bearer_token(offered) == token


async def test_a_large_frame_closes_the_socket(watch: Watch, stocked: Stocked) -> None:
    await stocked({"1": 5})
    socket = await watch()
    await told(socket)
    try:
        await socket.send_bytes(os.urandom(5 * 1024 * 1024))
    except ConnectionError:  # it was closed before all of it was sent
        return
    assert await closed(socket) in (1009, 1006)


async def test_the_code_for_a_large_frame_is_1009(watch: Watch, stocked: Stocked) -> None:
    await stocked({"1": 5})
    socket = await watch()
    await told(socket)
    await socket.send_str("x" * 4096)
    assert await closed(socket) == 1009


async def test_bad_utf8_closes_the_socket(watch: Watch, stocked: Stocked) -> None:
    await stocked({"1": 5})
    socket = await watch()
    await told(socket)
    await socket.send_frame(b"\xff", WSMsgType.TEXT)
    assert await closed(socket) == 1007


async def test_what_a_client_says_is_not_heard(watch: Watch, stocked: Stocked, sql: Any) -> None:
    await stocked({"1": 5})
    socket = await watch()
    await told(socket)
    for _ in range(100):
        await socket.send_str("hello")
    await socket.send_bytes(b"\0")
    await socket.ping()
    await sql.execute("UPDATE stock SET on_hand = 6")
    assert await told(socket) == {"1": (6, 0, 6)}


async def test_a_socket_outlives_the_time_for_headers(
    watch: Watch, stocked: Stocked, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    await stocked({"1": 5})
    socket = await watch()
    await told(socket)
    await socket.send_str("hello")
    await asyncio.sleep(0.5)
    await sql.execute("UPDATE stock SET on_hand = 6")
    assert await told(socket) == {"1": (6, 0, 6)}


async def test_a_session_is_one_line_of_the_log_with_its_length(
    api: Api, stocked: Stocked, request_lines: list[RequestLine]
) -> None:
    await stocked({"1": 5})
    response = await api.session.ws_connect(
        api.make_url(FEED + "main"), headers={"X-Request-ID": "feed-1"}
    )
    assert response._response.headers["X-Request-ID"] == "feed-1"
    await told(response)
    await asyncio.sleep(0.1)
    assert not request_lines
    await response.close()
    async with asyncio.timeout(60):
        while not request_lines:
            await asyncio.sleep(0.01)
    (line,) = request_lines
    assert (line.request_id, line.status, line.code) == ("feed-1", 101, "closed_1000")
    assert line.ms > 100


async def test_without_a_database_a_socket_is_refused(serve: Serve, dsn: str) -> None:
    async with link_to(dsn) as link:
        link.is_refusing = True
        api = await serve(link.url)
        response = await api.get(FEED + "main", headers=HANDSHAKE)
        assert response.status == 503
        assert (await response.json())["code"] == "database_unavailable"
        link.heal()
        response = await api.get(FEED + "main", headers=HANDSHAKE)
        assert response.status == 404
