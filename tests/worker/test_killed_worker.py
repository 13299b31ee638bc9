"""kill -9 of the worker at each step of a delivery, FAULTS 36: sent at least once, never undone."""

import signal
import socket
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Emit, Run
from tests.support.bot_api import BotApi
from tests.support.processes import Service, Start
from tests.support.waits import becomes

LEASES_RUN_OUT = "UPDATE outbox SET due_at = clock_timestamp() WHERE delivered_at IS NULL"
TAKEN = "SELECT count(*) > 0 FROM outbox WHERE attempts = 1"
ALL_DELIVERED = "SELECT bool_and(delivered_at IS NOT NULL) FROM outbox"
SOMEBODY_WAITS = (
    "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
)
COMMITTED = ["first", "second", "third"]


async def kill(worker: Service) -> None:
    assert await worker.stop(signal.SIGKILL) == -signal.SIGKILL


async def kill_after_take(
    start: Start, settings: dict[str, str], telegram: BotApi, sql: Any, dsn: str
) -> None:
    """Taken, and nothing sent: nobody accepts at the address that it sends to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = f"http://127.0.0.1:{listener.getsockname()[1]}"
        worker = await start("worker", **(settings | {"telegram_api_url": nowhere}))
        await becomes(lambda: sql.fetchval(TAKEN))
        await kill(worker)
    assert telegram.calls == []


async def kill_during_send(
    start: Start, settings: dict[str, str], telegram: BotApi, sql: Any, dsn: str
) -> None:
    """Sent, and not answered yet."""
    telegram.may_answer.clear()
    worker = await start("worker", **settings)
    await telegram.gets(1)
    await kill(worker)
    telegram.may_answer.set()


async def kill_before_finish(
    start: Start, settings: dict[str, str], telegram: BotApi, sql: Any, dsn: str
) -> None:
    """Delivered, and not written down: somebody holds the row that says so."""
    telegram.may_answer.clear()
    worker = await start("worker", **settings)
    await telegram.gets(1)
    async with sql.transaction():
        await sql.execute("SELECT FROM outbox FOR UPDATE")
        telegram.may_answer.set()
        await becomes(lambda: sql.fetchval(SOMEBODY_WAITS))
        await kill(worker)
        # Its session sees that nobody is there only once the lock is free.
        admin = await asyncpg.connect(dsn)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE cardinality(pg_blocking_pids(pid)) > 0"
        )
        await admin.close()


@pytest.mark.parametrize("kill_at", [kill_after_take, kill_during_send, kill_before_finish])
async def test_every_committed_message_is_sent_and_none_that_was_rolled_back(
    start: Start,
    working: Run,
    telegram: BotApi,
    bot: dict[str, str],
    emit: Emit,
    sql: Any,
    dsn: str,
    kill_at: Any,
) -> None:
    settings = {"database_url": dsn, **bot}
    await emit(*COMMITTED)
    other = await asyncpg.connect(dsn, server_settings={"search_path": "holdfast, pg_temp"})
    transaction = other.transaction()
    await transaction.start()
    await other.execute(
        'SELECT emit_message(\'main\', \'telegram\', \'{"kind": "text", "text": "never"}\')'
    )
    await kill_at(start, settings, telegram, sql, dsn)
    await transaction.rollback()
    await other.close()
    assert await sql.fetchval("SELECT count(*) FROM outbox WHERE delivered_at IS NULL") == 3

    await sql.execute(LEASES_RUN_OUT)
    async with working(**bot):
        await becomes(lambda: sql.fetchval(ALL_DELIVERED))
    assert set(telegram.texts) == set(COMMITTED)
    assert len(telegram.texts) == 3 + (kill_at is not kill_after_take)
