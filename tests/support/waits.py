"""Waits for what happens soon, and the faults that tests bring about."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg


async def becomes(condition: Callable[[], Awaitable[Any]], *, seconds: float = 60.0) -> Any:
    """Ask until the answer is true, and return it; only what is broken takes so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return answer


async def until_waiting(first: Any, second: Any) -> None:
    """Wait, looking through one connection, until another waits for a lock."""
    is_waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)"
    async with asyncio.timeout(30):
        while not await first.fetchval(is_waiting, second.get_server_pid()):
            await asyncio.sleep(0.01)


async def kill_backends(dsn: str, spared: Any) -> int:
    """End every connection of the service, as an administrator may; how many there were."""
    admin = await asyncpg.connect(dsn)
    try:
        killed = await admin.fetch(
            "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), $1)",
            spared.get_server_pid(),
        )
        pids = [row["pid"] for row in killed]
        while await admin.fetch("SELECT FROM pg_stat_activity WHERE pid = ANY ($1)", pids):
            await asyncio.sleep(0.01)
    finally:
        await admin.close()
    return len(pids)


LISTENERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'holdfast feed'"
)


async def listens(sql: Any) -> None:
    """Wait until a service hears of changes, and has read again what it may have missed."""
    await becomes(lambda: sql.fetchval(LISTENERS))


NOTHING_DONE = ("overloaded", "database_busy", "database_timeout", "conflict")


async def certain(send: Callable[[], Awaitable[Any]]) -> tuple[int, dict[str, Any]]:
    """The answer, asked for again while a busy machine says that nothing was done (503)."""
    while (response := await send()).status == 503:
        assert (await response.json())["code"] in NOTHING_DONE
        await asyncio.sleep(0.05)
    return response.status, await response.json()
