"""Behind PgBouncer in transaction mode: it works by a setting, and without is refused by name."""

import asyncio
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from aiohttp.test_utils import TestClient

from service.app import create_app
from service.database.connections import SETTINGS, Unreachable, connected
from service.database.pool import Database
from service.settings import Settings
from tests.support.aliases import Api, Stocked
from tests.support.builders import FEED, callback, post_all, told_until
from tests.support.servers import RealServer

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(not PGBOUNCER, reason="needs pgbouncer")

CONFIG = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
pool_mode = transaction
default_pool_size = 3
auth_type = trust
auth_file = {folder}/users
ignore_startup_parameters = {ignored}
"""


class Urls(NamedTuple):
    """A database by one login: past the pooler and through it."""

    direct: str
    pooled: str


@pytest.fixture
async def login(dsn: str) -> AsyncIterator[str]:
    """A login for the service, with the settings that `migrate --sql-roles` gives it."""
    name = f"holdfast_login_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw' IN ROLE holdfast_service")
    for setting in set(SETTINGS) - {"application_name"}:
        value = SETTINGS[setting] if setting == "search_path" else f"'{SETTINGS[setting]}'"
        await admin.execute(f"ALTER ROLE {name} SET {setting} = {value}")
    yield name
    await admin.execute(f"DROP ROLE {name}")
    await admin.close()


@asynccontextmanager
async def pooler(dsn: str, login: str, ignored: str = "") -> AsyncIterator[Urls]:
    """PgBouncer before the server of `dsn`."""
    assert PGBOUNCER
    admin = await asyncpg.connect(dsn)
    host = urlsplit(dsn).hostname or "127.0.0.1"
    server = f"host={host} port={await admin.fetchval('SHOW port')} password=pw"
    await admin.close()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with TemporaryDirectory(prefix="holdfast-pooler-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "users").write_text(f'"{login}" "pw"\n')
        config = Path(folder) / "pgbouncer.ini"
        config.write_text(CONFIG.format(server=server, port=port, folder=folder, ignored=ignored))
        command = [PGBOUNCER, "-q", str(config)]
        if os.geteuid() == 0:  # which it refuses to be
            command = ["setpriv", "--reuid=65534", "--clear-groups", "--", *command]
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(10):
                while True:
                    with suppress(ConnectionRefusedError):
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                        break
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            parts = urlsplit(dsn)
            place = parts.netloc.rpartition("@")[2]
            direct = urlunsplit(parts._replace(netloc=f"{login}:pw@{place}"))
            yield Urls(direct, f"postgresql://{login}:pw@127.0.0.1:{port}{parts.path}")
        finally:
            process.terminate()
            await process.communicate()


async def test_the_service_works_through_a_pooler_in_transaction_mode(
    dsn: str, login: str, stocked: Stocked, sql: Any
) -> None:
    await stocked({str(product): 1000 for product in range(1, 6)})
    async with pooler(dsn, login) as urls:
        database = Database(urls.pooled + "?pooler=transaction", listen_dsn=urls.direct)
        client: Api = TestClient(RealServer(create_app(Settings(), database)))
        async with client as api, api.ws_connect(FEED + "main") as feed:
            for _ in range(3):
                assert (await api.get("/health/ready")).status == 200
            bodies = [
                callback(reservation_id=str(n), product_id=str(n % 5 + 1), quantity=1)
                for n in range(1, 201)
            ]
            answers = await post_all(api, bodies)
            assert {status for status, _ in answers} == {200}
            reads = await asyncio.gather(*(api.get(f"/api/v1/reserve/{n}") for n in range(1, 101)))
            assert {response.status for response in reads} == {200}
            hold = {"lines": [{"product_id": "1", "quantity": 1}], "ttl_seconds": 60}
            held = [
                await api.post("/api/v1/reservations", json=hold, headers={"Idempotency-Key": "k"})
                for _ in range(3)
            ]
            assert [response.status for response in held] == [201] * 3
            assert len({await response.text() for response in held}) == 1
            report = await api.get("/api/v1/stores/main/xlsx_report")
            assert report.status == 200
            levels = {str(product): (1000, 40, 960) for product in range(1, 6)}
            await told_until(feed, levels | {"1": (1000, 41, 959)})
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == 201


async def test_locks_are_waited_for_no_longer_than_the_login_says(
    dsn: str, login: str, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    async with pooler(dsn, login) as urls:
        client: Api = TestClient(
            RealServer(create_app(Settings(), Database(urls.pooled + "?pooler=transaction",
                                                       listen_dsn=urls.direct)))
        )  # fmt: skip
        async with client as api, sql.transaction():
            await sql.execute("SELECT FROM stock FOR UPDATE")
            response = await api.post("/api/v1/reserve", json=callback())
            assert (await response.json())["code"] == "database_busy"


@pytest.mark.parametrize("ignored", ["", "all"])
async def test_a_pooler_that_the_url_does_not_tell_of_is_refused_by_name(
    dsn: str, login: str, ignored: str
) -> None:
    if ignored:
        ignored = ", ".join([*SETTINGS, "role", "extra_float_digits"])
    async with pooler(dsn, login, ignored) as urls:
        with pytest.raises(Unreachable, match=r"pooler that .*add \?pooler=transaction to the URL"):
            async with connected(urls.pooled, "holdfast_service"):
                pass
        client: Api = TestClient(RealServer(create_app(Settings(), Database(urls.pooled))))
        async with client as api:
            ready = await api.get("/health/ready")
            assert ready.status == 503
            assert "add ?pooler=transaction" in (await ready.json())["detail"]
            assert (await api.post("/api/v1/reserve", json=callback())).status == 503
