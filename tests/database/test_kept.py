"""A connection that is kept between calls: opened when needed, again when it was lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from service.database.pool import Database, Kept
from service.results import Refusal
from tests.support.waits import becomes, kill_backends

BACKEND = text("SELECT pg_backend_pid() AS pid, current_setting('lock_timeout') AS patience")
FAIL = text("SELECT 1 / 0")


@pytest.fixture
async def kept(dsn: str) -> AsyncIterator[Kept]:
    database = Database(dsn)
    kept = Kept(database.share(1, lock_timeout="100ms"))
    yield kept
    await kept.close()
    await database.close()


async def test_calls_share_one_session_with_its_own_settings(kept: Kept) -> None:
    first, second = await kept.call(BACKEND), await kept.call(BACKEND)
    assert first == second
    assert first.patience == "100ms"


async def test_a_failed_call_is_not_tried_again_and_the_session_goes_on(
    kept: Kept, sql: Any
) -> None:
    before = await kept.call(BACKEND)
    with pytest.raises(Exception, match="division by zero"):
        await kept.call(FAIL)
    async with sql.transaction():
        await sql.execute("LOCK TABLE stock")
        with pytest.raises(Refusal, match="database_busy"):
            await kept.call(text("SELECT * FROM held_products('main', '{}')"))
    assert await kept.call(BACKEND) == before


async def test_a_session_lost_during_a_call_is_replaced(kept: Kept, dsn: str, sql: Any) -> None:
    before = await kept.call(BACKEND)
    call = asyncio.create_task(kept.call(text("SELECT pg_sleep(60)")))
    sleeping = "SELECT FROM pg_stat_activity WHERE pid = $1 AND state = 'active'"
    admin = await asyncpg.connect(dsn)
    await becomes(lambda: admin.fetch(sleeping, before.pid))
    await admin.close()
    await kill_backends(dsn, sql)
    with pytest.raises(Refusal, match="outcome_unknown"):
        await call
    after = await kept.call(BACKEND)
    assert after.pid != before.pid
    assert after.patience == "100ms"


async def test_a_session_that_ended_between_calls_costs_no_call(
    kept: Kept, dsn: str, sql: Any
) -> None:
    before = await kept.call(BACKEND)
    await kill_backends(dsn, sql)

    async def is_known() -> bool:
        return bool(kept._pooled.driver_connection.is_closed())

    await becomes(is_known)
    after = await kept.call(BACKEND)
    assert after.pid != before.pid


async def test_where_there_is_no_server_nothing_is_done() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    kept = Kept(database.share(1))
    with pytest.raises(Refusal, match="database_unavailable"):
        await kept.call(BACKEND)
    await kept.close()
    await database.close()
