"""What `serve` does to the database first, and what it makes of one that it cannot prepare."""

import asyncio
import logging
import os
import resource
import secrets
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from sqlalchemy import text

from service import server
from service.database import migrate
from service.database.embedded.server import Postgres
from service.database.pool import Database
from service.results import Refusal
from service.settings import Settings
from tests.support.databases import make_bare


async def test_a_service_that_came_before_the_schema_never_works_as_the_login_itself(
    data_dir: Path,
) -> None:
    async with Postgres(data_dir, options={"fsync": "off"}) as postgres:
        admin = await asyncpg.connect(postgres.url)
        await make_bare(admin)
        await admin.close()
        database = Database(postgres.url)
        whoami = text("SELECT current_user AS name")
        for _ in range(2):
            with pytest.raises(Refusal, match="database_unavailable"):
                await database.read(whoami)
        await migrate.upgrade_in_thread(postgres.url)
        assert (await database.read(whoami)).name == "holdfast_service"
        await database.close()


async def test_it_makes_the_default_store_once(dsn: str, sql: Any) -> None:
    for _ in range(2):
        await server.prepare(Settings(store="north"), dsn, demo=False)
    assert await sql.fetchval("SELECT array_agg(store_id) FROM stores") == ["north"]


async def test_a_database_of_a_newer_release_is_served_as_it_is(
    dsn: str, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await sql.execute("UPDATE alembic_version SET version_num = '9999'")
    async with asyncio.timeout(10):
        await server.prepare(Settings(), dsn, demo=False)
    assert "serving the schema as it is" in caplog.text
    assert "9999" in caplog.text


async def test_a_login_without_the_owner_s_rights_leaves_migrating_to_others(
    dsn: str, cluster: str, caplog: pytest.LogCaptureFixture
) -> None:
    admin = await asyncpg.connect(cluster)
    login = f"holdfast_login_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'secret' IN ROLE holdfast_service")
    try:
        parts = urlsplit(dsn)
        host = parts.netloc.rpartition("@")[2]
        lesser = urlunsplit(parts._replace(netloc=f"{login}:secret@{host}"))
        async with asyncio.timeout(10):
            await server.prepare(Settings(), lesser, demo=False)
        assert "Not migrated: this login is not the owner's" in caplog.text
    finally:
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def test_a_defect_in_migrating_is_told_and_does_not_stop_the_service(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(migrate, "upgrade", fail)
    await server.prepare(Settings(), dsn, demo=False)
    assert "could not be prepared" in caplog.text
    assert "RuntimeError: a defect" in caplog.text


async def test_what_stands_in_the_way_of_a_migration_is_told_until_it_is_gone(
    dsn: str, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await sql.execute("CREATE VIEW reports AS SELECT * FROM stock_levels")
    await sql.execute("UPDATE installed_files SET sha256 = repeat('0', 64)")
    preparing = asyncio.create_task(server.prepare(Settings(store="north"), dsn, demo=False))
    try:
        async with asyncio.timeout(15):
            while "PostgreSQL cannot be prepared yet" not in caplog.text:
                await asyncio.sleep(0.02)
            assert "stock_levels" in caplog.text
            assert await sql.fetchval("SELECT count(*) FROM stores") == 0
            await sql.execute("DROP VIEW reports")
            await preparing
    finally:
        preparing.cancel()
    assert await sql.fetchval("SELECT array_agg(store_id) FROM stores") == ["north"]
    assert (
        await sql.fetchval(f"SELECT count(*) FROM installed_files WHERE sha256 = '{'0' * 64}'") == 0
    )


async def test_a_migration_that_outlives_its_caller_ends_quietly(
    dsn: str, sql: Any, connect_as: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = await connect_as("owner")
    await other.execute("SELECT pg_advisory_lock($1)", migrate.LOCK)
    await sql.execute("UPDATE installed_files SET sha256 = repeat('0', 64) WHERE path ~ '^views/'")
    preparing = asyncio.create_task(server.prepare(Settings(), dsn, demo=False))
    is_waiting = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name <> 'holdfast' AND pid <> pg_backend_pid())"
    )
    async with asyncio.timeout(15):
        while not await sql.fetchval(is_waiting):
            await asyncio.sleep(0.02)
        preparing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await preparing  # at once, though the lock is still held
        await other.execute("SELECT pg_advisory_unlock($1)", migrate.LOCK)
        while any(thread.name == server.MIGRATION for thread in threading.enumerate()):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0)
    assert await sql.fetchval("SELECT count(*) FROM stores") == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_sockets_opened_before_the_one_that_failed_are_closed() -> None:
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, limit[1]))
    try:
        with pytest.raises(server.ServeError, match=r"Cannot listen on 127\.0\.0\.1:.*Too many"):
            server.open_sockets("127.0.0.1", 0, 8)
        again = os.open(os.devnull, os.O_RDONLY)
        os.close(again)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    assert again == free


@pytest.mark.parametrize(
    ("host", "is_open"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)]
)
def test_callbacks_open_to_other_machines_are_warned_of(
    host: str, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.announce(Settings(host=host, port=8000))
    assert f"http://{f'[{host}]' if ':' in host else host}:8000" in caplog.text
    assert ("is not loopback: others may reach it" in caplog.text) == is_open


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT function_of_a_newer_release()", "cannot serve this"),
        ("SELECT count(*) FROM (SELECT FROM generate_series(1, 1000000) ORDER BY random()) AS s",
         "out of resources"),
    ],
)  # fmt: skip
async def test_what_the_database_cannot_do_now_is_no_defect_of_the_request(
    dsn: str, sql: Any, caplog: pytest.LogCaptureFixture, statement: str, said: str
) -> None:
    name = await sql.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(dsn)
    await admin.execute(f"ALTER DATABASE {name} SET temp_file_limit = '1MB'")
    await admin.close()
    database = Database(dsn)
    with pytest.raises(Refusal, match="database_unavailable"):
        await database.read(text(statement))
    assert (await database.read(text("SELECT 1 AS one"))).one == 1
    await database.close()
    assert said in caplog.text
