"""What `serve` does to the database first, and what it makes of one that it cannot prepare."""

import asyncio
import logging
import os
import re
import resource
import secrets
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from alembic import command
from sqlalchemy import text

from service import domains, server
from service.database import migrate
from service.database.embedded.server import Postgres
from service.database.pool import Database
from service.database.prepare import MIGRATION, prepare
from service.results import Refusal
from service.settings import ROOT, Settings
from tests.support.databases import empty_database, make_bare


async def nothing_more(owner_dsn: str) -> None:
    """What is done after the schema: nothing."""


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
        await prepare(Settings(store="north"), dsn, nothing_more)
    assert await sql.fetchval("SELECT array_agg(store_id) FROM stores") == ["north"]


async def test_a_database_of_a_newer_release_is_served_as_it_is(
    dsn: str, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await sql.execute("UPDATE alembic_version SET version_num = '9999'")
    async with asyncio.timeout(10):
        await prepare(Settings(), dsn, nothing_more)
    assert "the schema is served as it is" in caplog.text
    (line,) = [each for each in caplog.messages if "another release" in each]
    assert line.startswith("Serving another release's schema: the schema is of a newer release")
    assert "revision 9999" in line
    assert "Traceback" not in caplog.text


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
            await prepare(Settings(), lesser, nothing_more)
        assert caplog.text == ""
        with caplog.at_level(logging.INFO):
            await prepare(Settings(), lesser, nothing_more)
        assert "Not migrated, that is left to its owner's login" in caplog.text
    finally:
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def test_a_defect_in_migrating_is_told_and_does_not_stop_the_service(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(migrate, "upgrade", fail)
    await prepare(Settings(), dsn, nothing_more)
    assert "could not be prepared" in caplog.text
    assert "RuntimeError: a defect" in caplog.text


async def test_what_stands_in_the_way_of_a_migration_is_told_until_it_is_gone(
    dsn: str, sql: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await sql.execute("CREATE VIEW reports AS SELECT * FROM stock_levels")
    await sql.execute("UPDATE installed_files SET sha256 = repeat('0', 64)")
    preparing = asyncio.create_task(prepare(Settings(store="north"), dsn, nothing_more))
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
    preparing = asyncio.create_task(prepare(Settings(), dsn, nothing_more))
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
        while any(thread.name == MIGRATION for thread in threading.enumerate()):
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


@pytest.fixture
async def empty(cluster: str) -> AsyncIterator[str]:
    """URL of a database with nothing in it."""
    async with empty_database(cluster) as url:
        yield url


async def test_an_older_schema_that_this_login_may_not_migrate_is_named(
    empty: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = empty
    await asyncio.to_thread(command.upgrade, migrate.alembic_config(url), "0005")
    admin = await asyncpg.connect(url)
    await admin.execute("GRANT USAGE ON SCHEMA holdfast TO holdfast_reader")
    await admin.execute("GRANT SELECT ON holdfast.alembic_version TO holdfast_reader")
    login = f"holdfast_login_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE ROLE {login} LOGIN PASSWORD 'secret' IN ROLE holdfast_reader")
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        lesser = urlunsplit(parts._replace(netloc=f"{login}:secret@{host}"))
        await prepare(Settings(), lesser, nothing_more)
        assert "the schema is of an older release (revision 0005)" in caplog.text
        assert re.search(r"holdfast_service lacks \d+ rights", caplog.text)
        assert "Traceback" not in caplog.text
    finally:
        await admin.execute(f"DROP ROLE {login}")
        await admin.close()


async def test_more_processes_than_postgresql_has_connections_for_are_warned_of(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    await prepare(Settings(processes=1), dsn, nothing_more)
    assert caplog.text == ""
    await prepare(Settings(processes=64), dsn, nothing_more)
    assert re.search(r"64 processes may open 1\d+ connections, PostgreSQL allows", caplog.text)


@pytest.mark.parametrize(
    ("host", "is_open"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)]
)
def test_what_development_leaves_open_is_told_path_by_path(
    host: str, is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.announce(Settings(host=host, port=8000))
    assert f"http://{f'[{host}]' if ':' in host else host}:8000" in caplog.text
    assert f"needs no credentials for {', '.join(server.left_open())} and" in caplog.text
    assert ("is not loopback: others may reach it" in caplog.text) == is_open
    caplog.clear()
    server.announce(Settings(environment="production", jwt_secret="s" * 32))
    assert "credentials" not in caplog.text


def test_what_is_left_open_is_what_the_routes_declare_and_the_readme_says() -> None:
    opened = {route.path for domain in domains.find() for route in domain.routes if route.opens}
    closed = {route.path for domain in domains.find() for route in domain.routes} - opened
    names = server.left_open()
    assert all(any(path.startswith(name.split()[0]) for name in names) for path in opened)
    tops = [name for name in names if " " not in name]
    assert not [path for path in closed if path.split("/")[1] in {top[1:] for top in tops}]
    readme = " ".join((ROOT / "docs" / "guide.md").read_text().split())
    assert "without credentials: " + ", ".join(f"`{name}`" for name in names) in readme


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
