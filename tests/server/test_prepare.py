"""What `serve` does to the database first, and what it makes of one that it cannot prepare."""

import asyncio
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from sqlalchemy import text

from service import migrate, server
from service.database import Database
from service.embedded import Postgres
from service.results import Refusal
from service.settings import Settings


async def test_a_service_that_came_before_the_schema_never_works_as_the_login_itself(
    data_dir: Path,
) -> None:
    async with Postgres(data_dir, options={"fsync": "off"}) as postgres:
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
