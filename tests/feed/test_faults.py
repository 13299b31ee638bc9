"""What breaks under an open socket, and what its client notices: nothing, or a close code.

FAULTS 10, 17, 32 and 39.
"""

import asyncio
import logging
import signal
import socket as sockets
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import WSMsgType

from service.database import listen
from service.domains import feed
from service.web.sockets import LEEWAY
from tests.support.aliases import ServeFeed, Stocked, Watch
from tests.support.builders import FEED, told, told_until
from tests.support.processes import Start
from tests.support.proxy import Link, link_to
from tests.support.sockets import SlowReader
from tests.support.waits import LISTENERS, becomes, kill_backends, listens

LOST = "The feed's connection is lost"


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Link]:
    async with link_to(dsn) as link:
        yield link


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the listener waits before it connects again, whatever a busy machine adds."""
    found: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float, *rest: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"] == listen.__name__:
            found.append(seconds)
        return await sleep(seconds, *rest)

    monkeypatch.setattr(asyncio, "sleep", note)
    return found


async def test_a_killed_listener_is_back_within_a_second_and_nothing_is_missed(
    watch: Watch, stocked: Stocked, sql: Any, dsn: str, pauses: list[float]
) -> None:
    admin = await asyncpg.connect(dsn)
    await stocked({"1": 1, "2": 1})
    report, changes = await watch(), await watch(mode="changes")
    await told(report)
    await told(changes)
    on_hand = 1
    for _ in range(3):
        await listens(sql)
        killed = await sql.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'holdfast feed'"
            " AND datname = current_database()"
        )
        for _ in range(20):
            on_hand += 1
            await sql.execute("UPDATE stock SET on_hand = $1 WHERE product_id = '1'", on_hand)
            if on_hand % 20 == 10:
                await admin.execute("SELECT pg_terminate_backend($1)", killed)
        await told_until(report, {"1": (on_hand, 0, on_hand), "2": (1, 0, 1)})
        await told_until(changes, {"1": (on_hand, 0, on_hand)})
    assert len(pauses) >= 3
    assert sum(pauses) < 1
    await admin.close()


async def test_a_server_that_goes_away_and_comes_back_is_not_noticed(
    serve_feed: ServeFeed, link: Link, dsn: str, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 1, "2": 2})
    api = await serve_feed(link.url)
    socket = await api.ws_connect(FEED + "main", params={"mode": "changes"})
    await told(socket)
    await listens(sql)
    link.is_refusing = True
    await kill_backends(dsn, sql)
    await sql.execute("UPDATE stock SET on_hand = 7 WHERE product_id = '1'")
    await sql.execute("UPDATE stock SET on_hand = 0 WHERE product_id = '2'")
    with pytest.raises(TimeoutError):
        await socket.receive(timeout=0.7)
    link.heal()
    assert await told(socket) == {"1": (7, 0, 7), "2": (0, 0, 0)}
    await sql.execute("UPDATE stock SET on_hand = 8 WHERE product_id = '1'")
    assert await told(socket) == {"1": (8, 0, 8)}


async def test_a_silent_link_is_noticed_and_what_was_missed_is_sent(
    serve_feed: ServeFeed,
    link: Link,
    stocked: Stocked,
    sql: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert feed.HEARTBEAT_SECONDS * 2 < 10
    caplog.set_level(logging.WARNING, "holdfast.listen")
    await stocked({"1": 1})
    api = await serve_feed(link.url, heartbeat=0.3)
    socket = await api.ws_connect(FEED + "main")
    await told(socket)
    await listens(sql)
    link.silence()
    await sql.execute("UPDATE stock SET on_hand = 7")

    async def is_noticed() -> bool:
        return any(LOST in record.message for record in caplog.records)

    await becomes(is_noticed)
    link.cut()  # what was held back is gone for good
    link.heal()
    assert await told(socket) == {"1": (7, 0, 7)}


async def test_a_listener_that_is_refused_again_and_again_does_not_run_hot(
    serve_feed: ServeFeed, link: Link, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 1})
    api = await serve_feed(link.url)
    socket = await api.ws_connect(FEED + "main")
    await told(socket)
    await listens(sql)
    attempts = 0
    refuse = link._connect

    async def count(*arguments: Any) -> None:
        nonlocal attempts
        attempts += 1
        await refuse(*arguments)

    link._server.close()
    link._server = await asyncio.start_server(
        count, "127.0.0.1", link._server.sockets[0].getsockname()[1] if link._server.sockets else 0
    )
    link.is_refusing = True
    link.cut()
    await asyncio.sleep(1.5)
    assert attempts < 12


# A report that fills every buffer on the way: what is not read waits in our process.
MANY = {f"{'item' * 15}{number:04}": 1 for number in range(1, 601)}
SET_ALL = "UPDATE stock SET on_hand = $1 WHERE product_id = ANY ($2)"


@pytest.fixture(params=["report", "changes"])
async def behind(
    request: Any, serve_feed: ServeFeed, stocked: Stocked, sql: Any, monkeypatch: Any
) -> Any:
    """A reader that is behind, one that is not, the store they watch, how many frames are sent."""
    monkeypatch.setattr(feed, "FOLD_SECONDS", 0.05)
    await stocked(MANY)
    api = await serve_feed(patience=1.5)
    slow = SlowReader(api.host, api.port, request.param)
    await slow.connect()
    quick = await api.ws_connect(FEED + "main", params={"mode": "changes"}, max_msg_size=0)
    await told(quick)
    await listens(sql)
    (watched,) = api.app[feed.HUB]._stores.values()
    sent = 0
    while not watched.behind:
        sent += 1
        await sql.execute("UPDATE stock SET on_hand = $1", sent + 1)
        await told_until(quick, dict.fromkeys(MANY, (sent + 1, 0, sent + 1)))
    yield slow, quick, watched, sent
    slow.close()


async def test_a_reader_that_takes_nothing_is_cut_off_and_holds_one_message(
    behind: Any, sql: Any
) -> None:
    slow, quick, watched, sent = behind
    held = [each._transport.get_write_buffer_size() for each in watched.behind]
    assert LEEWAY < held[0] <= len(watched.items.report())
    changes = 0
    async with asyncio.timeout(120):
        while len(watched.watchers) > 1:
            changes += 1
            await sql.execute(SET_ALL, 100 + changes, [next(iter(MANY))])
            await told(quick)
            for each in watched.behind:
                assert each._transport.get_write_buffer_size() == held[0]
    assert changes > 3
    *messages, (kind, goodbye) = await slow.frames()
    assert len(messages) == sent
    assert (kind, goodbye[:2], goodbye[2:]) == (0x88, (1013).to_bytes(2), b"too slow")
    await sql.execute(SET_ALL, 1000, [next(iter(MANY))])
    assert list((await told(quick)).values()) == [(1000, 0, 1000)]


async def test_a_reader_that_was_behind_is_told_the_rest_as_one_message(
    behind: Any, sql: Any
) -> None:
    slow, quick, _, sent = behind
    changed = list(MANY)[:8]
    for number, item in enumerate(changed, 100):
        await sql.execute(SET_ALL, number, [item])
        await told_until(quick, {item: (number, 0, number)})
    for _ in range(sent):
        await slow.read()
    expected = dict.fromkeys(MANY, sent + 1) | dict(zip(changed, range(100, 108), strict=True))
    assert quantities(await slow.read()) == expected
    await sql.execute(SET_ALL, 500, changed[:1])
    assert quantities(await slow.read())[changed[0]] == 500


def quantities(frame: tuple[int, bytes]) -> dict[str, int]:
    report = feed.REPORT.decode(frame[1]).store.report
    return {item.item_id: item.quantity for item in report}


async def test_a_client_that_vanishes_is_forgotten(
    serve_feed: ServeFeed, stocked: Stocked, sql: Any
) -> None:
    await stocked({"1": 1})
    api = await serve_feed(heartbeat=0.1)
    slow = SlowReader(api.host, api.port, "report")
    await slow.connect()
    await listens(sql)
    slow.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    slow.socket.close()
    await becomes(lambda: sql.fetchval(f"SELECT ({LISTENERS}) = 0"))


@pytest.mark.parametrize("processes", [1, 2])
async def test_sigterm_closes_every_socket_with_1001(
    serve_process: Start,
    browser: aiohttp.ClientSession,
    stocked: Stocked,
    sql: Any,
    processes: int,
) -> None:
    await stocked({"1": 5})
    service = await serve_process(processes=processes)
    sockets = [await browser.ws_connect(service.url + FEED + "main") for _ in range(6)]
    for socket in sockets:
        assert await told(socket) == {"1": (5, 0, 5)}
    await becomes(lambda: sql.fetchval(LISTENERS))
    await sql.execute("UPDATE stock SET on_hand = 6")
    for socket in sockets:
        assert await told(socket) == {"1": (6, 0, 6)}
    service.process.send_signal(signal.SIGTERM)
    for socket in sockets:
        message = await socket.receive(timeout=60)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
    assert await service.ends() == 0
    assert not [line for line in service.log if " error " in line]
