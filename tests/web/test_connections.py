"""Connections: how many a process holds, and what it holds for clients that do not read."""

import asyncio
import logging
import resource
import socket
import time
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from service.logs import RequestLine
from service.web import boundary, connections, origins, protocol
from service.web.connections import Connections, Room, Unsent, room_for
from tests.support.aliases import Api, Serve, Stocked
from tests.support.builders import RESERVE, callback
from tests.support.processes import Start
from tests.support.waits import becomes
from tests.support.wire import exchange, head_of

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
REPORT = b"GET /api/v1/stores/main HTTP/1.1\r\nHost: x\r\n\r\n"


class Guest:
    def __init__(self, *, is_silent: bool = True) -> None:
        self.is_silent = is_silent
        self.is_away = False

    def turn_away(self) -> None:
        self.is_away = True


def room(count: int = 3, newcomers: int = 2, of_an_address: int = 3) -> Connections:
    return Connections(Room(count, newcomers), of_an_address, lambda peer: peer == "10.0.0.1")


def test_connections_are_counted_in_all() -> None:
    counted = room()
    guests = [Guest() for _ in range(4)]
    admitted = [counted.admit(guest, f"192.0.2.{n}") for n, guest in enumerate(guests)]
    assert admitted == [True, True, True, False]
    assert len(counted) == 4
    counted.leave(guests[3], "192.0.2.3", is_admitted=False)
    counted.leave(guests[0], "192.0.2.0", is_admitted=True)
    assert len(counted) == 2
    assert counted.admit(Guest(), "192.0.2.9")


def test_connections_are_counted_by_address_but_for_proxies_of_our_own() -> None:
    counted = room(count=9, of_an_address=2)
    assert counted.admit(Guest(), "2001:db8::1")
    assert counted.admit(Guest(), "2001:db8::2")
    assert not counted.admit(Guest(), "2001:db8::3")
    assert counted.admit(Guest(), "2001:db8:0:1::3")
    assert [counted.admit(Guest(), "10.0.0.1") for _ in range(3)] == [True] * 3
    counted.leave(Guest(), "2001:db8::1", is_admitted=True)
    assert counted.admit(Guest(), "2001:db8::4")


def test_the_oldest_newcomer_that_said_nothing_makes_room() -> None:
    counted = room(count=0)
    first, second, third, fourth = Guest(is_silent=False), Guest(), Guest(), Guest(is_silent=False)
    for guest in (first, second, third):
        assert not counted.admit(guest, "192.0.2.1")
    assert [guest.is_away for guest in (first, second, third)] == [False, True, False]
    counted.admit(fourth, "192.0.2.1")
    assert third.is_away
    fifth = Guest(is_silent=False)
    counted.admit(fifth, "192.0.2.1")
    assert fifth.is_away, "who is being answered is not interrupted"
    assert len(counted) == 2


def test_a_full_house_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    counted = room(count=0)
    for _ in range(5):
        counted.admit(Guest(), "192.0.2.1")
    crowd = room(of_an_address=0)
    crowd.admit(Guest(), "192.0.2.1")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "0 of 0 are open" in messages[0]
    assert "192.0.2.1 has 0" in messages[1]


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [
        (256, 256, 16000, (139, 69)),
        (1024, 4096, 2000, (2000, 1008)),
        (1024, 4096, 16000, (3024, 1024)),
        (20000, 20000, 16000, (16000, 1024)),
        (64, 64, 16000, (16, 16)),
        (1024, resource.RLIM_INFINITY, 16000, (16000, 1024)),
    ],
)
def test_descriptors_are_kept_back(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    wanted: int,
    expected: tuple[int, int],
) -> None:
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, to: limits.append(to))
    assert room_for(wanted) == expected
    left = limits[-1][0] - sum(expected)
    assert left >= connections.KEPT_FILES or soft < 100


async def connect(api: Api, count: int) -> list[asyncio.StreamWriter]:
    opened = [asyncio.open_connection(api.server.host, api.server.port) for _ in range(count)]
    return [writer for _, writer in await asyncio.gather(*opened)]


async def test_without_room_health_is_answered_and_all_else_is_503(
    serve: Serve,
    stocked: Stocked,
    caplog: pytest.LogCaptureFixture,
    request_lines: list[RequestLine],
) -> None:
    await stocked({"7": 5})
    api = await serve(max_connections=16, max_connections_per_address=16)
    caplog.set_level(logging.INFO)
    idle = await connect(api, 15)
    url = api.make_url(RESERVE)
    kept = aiohttp.ClientSession()
    assert (await kept.post(url, json=callback())).status == 200
    async with aiohttp.ClientSession() as newcomer:
        response = await newcomer.post(url, json=callback())
        answer = await response.json()
        assert (response.status, answer["status"], answer["code"]) == (503, "error", "overloaded")
        assert response.headers["Retry-After"] == "1"
        for path in ("/health/live", "/health/ready"):
            response = await newcomer.get(api.make_url(path))
            assert (response.status, response.headers["Connection"]) == (200, "close")
    assert (await kept.post(url, json=callback())).status == 200, "who has room keeps it"
    said = [record.getMessage() for record in caplog.records]
    assert "Too many connections, newcomers are answered 503: 16 of 16 are open" in said
    assert [line.code for line in request_lines].count("overloaded") == 1
    for writer in idle:
        writer.close()
    await kept.close()

    async def has_room() -> bool:
        async with aiohttp.ClientSession() as newcomer:
            return (await newcomer.post(url, json=callback())).status == 200

    await becomes(has_room)


async def test_an_address_takes_its_share_and_no_more(serve: Serve, stocked: Stocked) -> None:
    await stocked({"7": 5})
    api = await serve(max_connections=16)
    idle = await connect(api, 8)
    head, _ = await exchange(api, REPORT)
    assert head.startswith("HTTP/1.1 503"), "half of the room is not one client's"
    for writer in idle:
        writer.close()

    async def has_room() -> bool:
        return (await exchange(api, REPORT))[0].startswith("HTTP/1.1 200")

    await becomes(has_room)


async def test_newcomers_that_say_nothing_are_told_and_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "room_for", lambda _: Room(2, 2))
    monkeypatch.setattr(protocol, "NEWCOMER_SECONDS", 0.3)
    api = await serve(max_connections_per_address=2)
    idle = await connect(api, 2)
    newcomers = [await asyncio.open_connection(api.server.host, api.server.port) for _ in range(4)]
    async with asyncio.timeout(15):
        answers = [await reader.read() for reader, _ in newcomers]
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b'"code":"overloaded"' in answer
        assert b"Connection: close" in answer
    head, _ = await exchange(api, LIVE)
    assert head.startswith("HTTP/1.1 200")
    for writer in (*idle, *(writer for _, writer in newcomers)):
        writer.close()


async def test_600_connections_and_256_descriptors(
    start: Start, dsn: str, stocked: Stocked, browser: aiohttp.ClientSession
) -> None:
    await stocked({"7": 500})
    service = await start("serve", database_url=dsn, port=0, worker="none")
    resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (256, 256))
    await service.serves()
    writers: list[asyncio.StreamWriter] = []
    answers: list[int] = []

    async def hold() -> None:
        try:
            _, writer = await asyncio.open_connection(service.host, service.port)
            writers.append(writer)
        except OSError:
            answers.append(0)

    async def ask(method: str, path: str, **more: Any) -> int:
        async with asyncio.timeout(5):
            response = await browser.request(method, service.url + path, **more)
            return response.status

    await asyncio.gather(*(hold() for _ in range(600)))
    assert len(writers) == 600, "nobody is left standing at the door"
    for _ in range(5):
        assert await ask("GET", "/health/live") == 200
        assert await ask("GET", "/health/ready") == 200
        assert await ask("POST", RESERVE, json=callback()) in (200, 503)
        await asyncio.sleep(0.1)
    for writer in writers:
        writer.close()
    await becomes(lambda: _is(ask("POST", RESERVE, json=callback()), 200))
    assert not [line for line in service.log if "Traceback" in line or "Too many open" in line]


async def _is(asked: Any, status: int) -> bool:
    return bool(await asked == status)


class Transport:
    """A transport whose client takes what it is told to take."""

    def __init__(self, left: int, *, is_closing: bool = False) -> None:
        self.left, self._is_closing, self.is_aborted = left, is_closing, False

    def get_write_buffer_size(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return self._is_closing

    def get_extra_info(self, name: str) -> None:
        return None

    def abort(self) -> None:
        self.is_aborted, self.left = True, 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_who_takes_too_little_is_cut_off_and_who_takes_enough_is_not(clock: list[float]) -> None:
    unsent = Unsent()
    dead, slow = Transport(1_000_000), Transport(1_000_000)
    unsent.add(dead)
    unsent.add(slow)
    for _ in range(20):
        clock[0] += 2.5
        slow.left -= connections.PROGRESS_BYTES // 4
        dead.left -= 10
        unsent.look()
    assert (dead.is_aborted, slow.is_aborted) == (True, False)
    unsent.remove(slow)
    clock[0] += 100
    unsent.look()
    assert not slow.is_aborted


def test_in_sum_too_much_cuts_off_who_has_waited_longest(clock: list[float]) -> None:
    unsent = Unsent()
    transports = [Transport(connections.MAX_UNSENT_BYTES // 4) for _ in range(6)]
    for transport in transports:
        clock[0] += 1
        unsent.add(transport)
    assert [each.is_aborted for each in transports] == [True, True, False, False, False, False]
    alone = Unsent()
    large = Transport(connections.MAX_UNSENT_BYTES * 2)
    alone.add(large)
    assert not large.is_aborted


def server_of(api: Api) -> protocol._Server:
    assert isinstance(api.server, TestServer)
    assert api.server.runner
    assert isinstance(api.server.runner.server, protocol._Server)
    return api.server.runner.server


async def never_read(api: Api, request: bytes) -> socket.socket:
    """A client that asks and takes nothing of the answer."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await loop.sock_connect(client, (api.server.host, api.server.port))
    await loop.sock_sendall(client, request)
    return client


async def is_over(client: socket.socket) -> bool:
    """Whether the server has reset a connection."""
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


@pytest.fixture
async def large(api: Api, stocked: Stocked) -> Api:
    """A client of a store whose report is of nearly a megabyte."""
    await stocked({f"product-{number:050}": 1 for number in range(5_000)})
    return api


async def test_an_answer_that_nobody_reads_is_given_up(
    large: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "LOOK_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    client = await never_read(large, REPORT)
    await becomes(lambda: is_over(client))
    client.close()
    assert any("it took too little" in record.getMessage() for record in caplog.records)


async def test_unread_answers_hold_so_much_in_sum(
    large: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_UNSENT_BYTES", 2_000_000)
    server = server_of(large)
    clients = []
    for _ in range(6):
        clients.append(await never_read(large, REPORT))
        await asyncio.sleep(0.3)
    await becomes(lambda: is_over(clients[0]))
    held = sum(each.get_write_buffer_size() for each in server._connections.values())
    assert held <= 2_000_000
    assert not await is_over(clients[-1])
    for client in clients:
        client.close()


async def test_a_closed_connection_that_nobody_reads_is_given_up(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SEND_SECONDS", 0.1)
    server = server_of(api)
    stuck, idle = Transport(100, is_closing=True), Transport(100)
    monkeypatch.setattr(server, "_connections", {1: stuck, 2: idle})
    server._look_at_unsent()
    await asyncio.sleep(0.2)
    server._look_at_unsent()
    assert (stuck.is_aborted, idle.is_aborted) == (True, False)


async def test_a_slow_reader_that_keeps_reading_gets_all_of_it(
    large: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SEND_SECONDS", 1.5)
    monkeypatch.setattr(protocol, "LOOK_SECONDS", 0.1)
    client = await never_read(large, REPORT)
    loop, received = asyncio.get_running_loop(), b""
    while b"\r\n\r\n" not in received:
        received += await loop.sock_recv(client, 4096)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head_of(head.decode())["content-length"])
    while len(body) < length:
        piece = await loop.sock_recv(client, 32 * 1024)
        assert piece, "it was cut off"
        body += piece
        await asyncio.sleep(0.03)
    client.close()


async def test_headers_have_their_time_on_a_connection_that_is_kept(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.3)
    reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
    writer.write(LIVE)
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.5)
    writer.write(LIVE)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b'{"status":"live"}HTTP/1.1 200')
    writer.write(LIVE[:20])
    async with asyncio.timeout(15):
        await reader.read()
    writer.close()


async def test_a_defect_is_500_in_the_one_shape_and_ends_the_connection_where_it_must(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise LookupError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(origins.Origins, "check_host", fail)
        response = await api.get("/health/live")
        assert (response.status, (await response.json())["code"]) == (500, "internal_error")
    with monkeypatch.context() as patch:
        patch.setattr(boundary.Boundary, "_tell", fail)
        response = await api.get("/health/live")
        assert (response.status, (await response.json())["code"]) == (500, "internal_error")
        assert response.headers["Connection"] == "close"
    assert "a defect" in caplog.text
    assert (await api.get("/health/live")).status == 200


async def test_a_client_that_leaves_before_its_body_is_asked_for_is_no_defect(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    request_lines: list[RequestLine],
) -> None:
    def fail(*arguments: Any) -> None:
        raise aiohttp.ClientConnectionResetError("as writing 100 Continue does")

    monkeypatch.setattr(origins.Origins, "check_host", fail)
    assert (await api.post(RESERVE, json=callback())).status == 400
    assert [(line.level, line.code) for line in request_lines] == [("info", "bad_request")]
    assert "Traceback" not in caplog.text
