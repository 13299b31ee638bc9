"""A real PostgreSQL for the whole run, a fresh copy of the migrated database for each test.

HOLDFAST_TEST_DATABASE_URL names a server to use (a login that may create databases); without it
one of our own is started, from the binaries of HOLDFAST_TEST_BIN_DIR if that is set.
"""

import asyncio
import gc
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import asyncpg
import pytest

from service.app import create_app
from service.database import migrate
from service.database.connections import CALL_SECONDS, connected
from service.database.embedded.server import Postgres
from service.database.pool import Database
from service.logs import RequestLine
from service.settings import ROOT, Settings
from service.web import boundary
from service.web.auth import AUTH, Grant
from service.worker import run_worker
from tests import plpgsql_coverage
from tests.plpgsql_coverage import pytest_configure as pytest_configure
from tests.plpgsql_coverage import pytest_sessionfinish as pytest_sessionfinish
from tests.plpgsql_coverage import pytest_terminal_summary as pytest_terminal_summary
from tests.plpgsql_coverage import pytest_testnodedown as pytest_testnodedown
from tests.support.aliases import Api, Connect, CreateUser, Header, NewUser, Run
from tests.support.builders import bearer, create_user, token_of
from tests.support.copies import Copies
from tests.support.processes import Service, Start, environment
from tests.support.servers import WRONG_ANSWERS, RealServer, with_database

MEMORY = Path("/dev/shm")
"""A thousand databases come and go, of some 300 files each: a disk takes five times as long."""
ROOM = 4 * 2**30
OF_TESTS = 1_000_000_000
"""The session that new_user begins is this many after the user's id, so that signed_in knows it."""


def pytest_collection_finish() -> None:
    """What is loaded by now stays to the end: collections pass over it, which saves a tenth."""
    gc.freeze()


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of a server's maintenance database, as a login that may do everything there."""
    if url := os.environ.get("HOLDFAST_TEST_DATABASE_URL"):
        yield url
        return
    bin_dir = os.environ.get("HOLDFAST_TEST_BIN_DIR")
    options = {
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "autovacuum": "off",  # it would look at a copy when it likes: plans are not to change
    }
    if plpgsql_coverage.is_available(Path(bin_dir) if bin_dir else None):
        options["shared_preload_libraries"] = "plpgsql_check"
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("cluster")
        if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="holdfast-", dir=MEMORY)))
        binaries = Path(bin_dir) if bin_dir else None
        async with Postgres(folder, bin_dir=binaries, options=options) as postgres:
            yield postgres.url


@pytest.fixture(scope="session")
async def template(cluster: str) -> AsyncIterator[str]:
    """Name of a migrated database that nobody is connected to."""
    name = f"holdfast_template_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(cluster)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        await migrate.upgrade_in_thread(with_database(cluster, name))
        await plpgsql_coverage.prepare(with_database(cluster, name))
        yield name
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture(scope="session")
async def copies(cluster: str, template: str) -> AsyncIterator[Copies]:
    """The copies of the template that tests get."""
    admin = await asyncpg.connect(cluster)
    made = Copies(cluster, template, admin)
    yield made
    for copy in made.idle:
        await made.drop(copy)
    await admin.close()


@pytest.fixture
async def dsn(copies: Copies) -> AsyncIterator[str]:
    """URL of this test's own database. Afterwards no invariant may be broken in it."""
    copy = await copies.take()
    yield copy.url
    assert await copies.give_back(copy) == []


@pytest.fixture(autouse=True)
def _every_answer_is_as_declared() -> Iterator[None]:
    """What every route answers in a test is of the type that it declares."""
    WRONG_ANSWERS.clear()
    yield
    assert not WRONG_ANSWERS


@pytest.fixture
async def connect_as(dsn: str) -> AsyncIterator[Connect]:
    """connect_as("owner" | "service" | "reader"): raw connections, closed afterwards.

    A patient one waits for locks as long as a test on a busy machine may need.
    """
    async with AsyncExitStack() as stack:

        async def open_connection(role: str = "owner", *, is_patient: bool = False) -> Any:
            seconds = None if is_patient else CALL_SECONDS
            opened = connected(dsn, f"holdfast_{role}", seconds=seconds)
            connection = await stack.enter_async_context(opened)
            if is_patient:
                for name in ("lock_timeout", "idle_in_transaction_session_timeout"):
                    await connection.execute(f"SET {name} = 0")
            return connection

        yield open_connection


@pytest.fixture
async def sql(connect_as: Connect) -> Any:
    """A raw connection as the owner: what a DBA has in psql."""
    return await connect_as("owner")


@pytest.fixture
async def stocked(sql: Any) -> Callable[..., Awaitable[None]]:
    """stocked({"1": 10}, store_id="main"): products with so many units on hand."""

    async def put(on_hand: dict[str, int], store_id: str = "main") -> None:
        await sql.execute("SELECT create_store($1)", store_id)
        await sql.execute(
            "INSERT INTO products (store_id, product_id, name)"
            " SELECT $1, p, 'Product ' || p FROM unnest($2::text[]) AS p",
            store_id,
            list(on_hand),
        )
        await sql.execute(
            "UPDATE stock AS s SET on_hand = n.quantity"
            " FROM unnest($2::text[], $3::bigint[]) AS n (product_id, quantity)"
            " WHERE s.store_id = $1 AND s.product_id = n.product_id AND n.quantity <> 0",
            store_id,
            list(on_hand),
            list(on_hand.values()),
        )

    return put


@pytest.fixture
async def serve(
    dsn: str, aiohttp_client: Callable[..., Awaitable[Api]]
) -> Callable[..., Awaitable[Api]]:
    """serve(environment=…, …): a client of the application, as `serve` runs it."""

    async def start(database_url: str = dsn, **settings: Any) -> Api:
        app = create_app(Settings(**settings), Database(database_url))
        return await aiohttp_client(RealServer(app))

    return start


@pytest.fixture
async def api(serve: Callable[..., Awaitable[Api]]) -> Api:
    """A client of the application on this test's database."""
    return await serve()


@pytest.fixture
def request_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> list[RequestLine]:
    """The lines of requests that the log of this test has, as they come."""
    caplog.set_level(logging.INFO, "holdfast.http")
    lines: list[RequestLine] = []
    monkeypatch.setattr(boundary, "log_request", lines.append)
    return lines


@pytest.fixture
def signed_in(api: Api) -> Callable[..., dict[str, str]]:
    """signed_in(17, "customer"): headers of a request by that user of the store main."""

    def headers(user_id: int, role: str = "customer") -> dict[str, str]:
        now = int(time.time())
        grant = Grant(OF_TESTS + user_id, 1, user_id, role, now, now, now + 3600)
        granted = api.app[AUTH].tokens.answer("main", grant)
        return {"Authorization": f"Bearer {granted['access_token']}"}

    return headers


@pytest.fixture
def new_user(sql: Any) -> NewUser:
    """new_user("ann", store_id="main", role="customer", is_active=True): the user_id."""

    async def create(
        login: str, store_id: str = "main", *, role: str = "customer", is_active: bool = True
    ) -> int:
        await sql.execute("SELECT create_store($1)", store_id)
        user_id = int(
            await sql.fetchval(
                "INSERT INTO users (store_id, login, password_hash, role, is_active)"
                " VALUES ($1, $2, '', $3, $4) RETURNING user_id",
                *(store_id, login, role, is_active),
            )
        )
        await sql.execute(
            "INSERT INTO sessions (store_id, session_id, user_id, generation, has_totp, address,"
            " user_agent, idle_limit, expires_at) OVERRIDING SYSTEM VALUE"
            " VALUES ($1, $2, $3, 0, false, '192.0.2.1', 'tests', '1 hour', now() + '1 hour')",
            *(store_id, OF_TESTS + user_id, user_id),
        )
        return user_id

    return create


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("serve", database_url=…): a process of ours, ended after the test."""
    started: list[Service] = []

    async def run(*arguments: str, **settings: object) -> Service:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *arguments),
            cwd=ROOT,
            env=environment(**settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(Service(process))
        return started[-1]

    yield run
    for service in started:
        if service.process.returncode is None:
            await service.stop()


@pytest.fixture
async def serve_process(start: Start, dsn: str) -> Start:
    """serve_process(processes=2): `serve` on this test's database and a free port, serving."""

    async def run(*arguments: str, processes: int = 1, **settings: object) -> Service:
        settings = {"database_url": dsn, "port": 0, "processes": processes, **settings}
        return await (await start("serve", *arguments, **settings)).serves(processes)

    return run


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of any address, that opens a connection for each request."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder not made yet, under one that every user may pass (pytest's own are closed)."""
    parent = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    deadline = time.monotonic() + 15
    while list(parent.rglob("postmaster.pid")) and time.monotonic() < deadline:
        time.sleep(0.02)  # the server of a service that was killed
    shutil.rmtree(parent)


@pytest.fixture
async def user(sql: Any) -> CreateUser:
    """user("maria", role="admin", store_id="main"): the id of a new user, who can sign in."""

    async def create(login: str, **of: Any) -> int:
        return await create_user(sql, login, **of)

    return create


@pytest.fixture
async def header_of(sql: Any, api: Api) -> Header:
    """header_of(user_id): what that user sends along."""

    async def header(user_id: int) -> dict[str, str]:
        return bearer(await token_of(sql, api, user_id))

    return header


@pytest.fixture
async def main(sql: Any) -> None:
    """The default store, empty."""
    await sql.execute("SELECT create_store('main')")


@pytest.fixture
def working(dsn: str) -> Run:
    """async with working(report_time=…): a worker works meanwhile."""

    @asynccontextmanager
    async def work(database_url: str = dsn, **settings: Any) -> AsyncIterator[None]:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(Settings(**settings), database_url, stop))
        try:
            yield
        finally:
            stop.set()
            await worker

    return work
