"""Sockets of the feed, and what they are told."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp.test_utils import get_port_socket

from service.app import create_app
from service.database.pool import Database
from service.domains.feed import HUB, Hub
from service.settings import Settings
from service.web.auth import AUTH
from tests.support.aliases import Api, ServeFeed, Socket, Watch
from tests.support.builders import FEED
from tests.support.servers import RealServer


@pytest.fixture
async def watch(api: Api) -> Watch:
    """watch("main", mode="changes"): a socket on a store of this test's service."""

    async def connect(store_id: str = "main", *, client: Api = api, **query: str) -> Socket:
        return await client.ws_connect(FEED + store_id, params=query)

    return connect


def small_socket(*where: Any) -> socket.socket:
    """A listener whose connections have small buffers: what is not read soon waits in us."""
    listener = get_port_socket(*where)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listener


@pytest.fixture
async def serve_feed(dsn: str, aiohttp_client: Callable[..., Awaitable[Api]]) -> ServeFeed:
    """serve_feed(heartbeat=0.2): a client of the application, its hub in a greater hurry."""

    async def serve(database_url: str = dsn, **patience: float) -> Api:
        app = create_app(Settings(), Database(database_url))
        app[HUB] = Hub(Database(database_url), app[AUTH], **patience)
        app.on_cleanup.append(lambda app: app[HUB]._database.close())
        return await aiohttp_client(RealServer(app, socket_factory=small_socket))

    return serve


@pytest.fixture
async def heard(dsn: str, sql: Any) -> AsyncIterator[Callable[[], Awaitable[list[str]]]]:
    """What was announced since the last time, in order."""
    payloads: list[str] = []
    await sql.add_listener("holdfast.stock", lambda *each: payloads.append(each[-1]))

    async def since() -> list[str]:
        await sql.execute("SELECT 1")  # its answer comes after what was announced before
        found = payloads.copy()
        payloads.clear()
        return found

    yield since
    await sql.reset()
