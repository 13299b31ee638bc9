"""Connections: what they carry, and what is said where there is none."""

import socket
import time
from urllib.parse import urlsplit

import pytest

from service.database.connections import (
    KEEPALIVE,
    Unreachable,
    connected,
    dial,
    place_of,
    without_pooler,
)
from tests.support.proxy import link_to
from tests.support.servers import with_database


@pytest.mark.parametrize(
    ("dsn", "place"),
    [
        ("postgresql://me:secret@db.example:5433/shop", "db.example:5433/shop"),
        ("postgresql://me:secret@a:1,b:2/shop?sslmode=require", "a:1,b:2/shop"),
        ("postgresql://me@/shop?host=%2Frun%2Fpg&port=5433", "/run/pg:5433/shop"),
        ("postgres://?password=secret", "localhost"),
    ],
)
def test_a_place_is_told_without_login_and_password(dsn: str, place: str) -> None:
    assert place_of(dsn) == place


def test_the_pooler_is_no_part_of_what_others_read() -> None:
    dsn = "postgresql://me@h/shop?sslmode=require&pooler=transaction"
    assert without_pooler(dsn) == "postgresql://me@h/shop?sslmode=require"


async def test_a_server_that_is_down_or_refuses_is_named_with_the_cause(cluster: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match=f"127.0.0.1:{port}/x: no answer within 3 s"):
            await dial(f"postgresql://me:secret@127.0.0.1:{port}/x")
    with pytest.raises(Unreachable, match=f"^PostgreSQL at 127.0.0.1:{port}/x: .*refused"):
        await dial(f"postgresql://me:secret@127.0.0.1:{port}/x")
    with pytest.raises(Unreachable, match=r"at nowhere\.invalid/x: .*(known|resol|address)"):
        await dial("postgresql://me:secret@nowhere.invalid/x")
    with pytest.raises(Unreachable, match='database "holdfast_nowhere" does not exist'):
        await dial(with_database(cluster, "holdfast_nowhere"))


async def test_a_wrong_password_is_named_and_not_told(cluster: str) -> None:
    admin = await dial(cluster)
    port = await admin.fetchval("SHOW port")
    host = urlsplit(cluster).hostname or "127.0.0.1"
    dsn = f"postgresql://holdfast_nobody:secret@{host}:{port}/postgres"
    with pytest.raises(Unreachable, match='authentication failed for user "holdfast_nobody"') as no:
        await dial(dsn)
    assert "secret" not in str(no.value)
    await admin.close()


async def test_the_kernel_is_told_to_notice_a_server_that_is_gone(dsn: str) -> None:
    async with link_to(dsn) as link, connected(link.url, "holdfast_service") as connection:
        used = connection._transport.get_extra_info("socket")
        assert used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for name, value in KEEPALIVE.items():
            assert used.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
        assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8000
    async with connected(dsn, "holdfast_service") as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_leaving_a_connection_of_a_silent_server_takes_no_longer_than_a_second(
    dsn: str,
) -> None:
    async with link_to(dsn) as link:
        async with connected(link.url, "holdfast_service"):
            link.silence()
            began = time.monotonic()
        assert time.monotonic() - began < 2
