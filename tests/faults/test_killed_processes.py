"""kill -9, FAULTS 11 and 13: what was acknowledged is kept, the rest is whole or was never there.

Figures go to the terminal; docs/reliability.md holds those of the last full run.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.database.embedded.server import Postgres
from service.database.migrate import upgrade_in_thread
from tests.support.aliases import Stocked
from tests.support.load import Load, assert_kept, stored
from tests.support.processes import Service, Start

pytestmark = pytest.mark.faults


KILLS = 20
CALLERS = 32
PRODUCTS = [str(product) for product in range(1, 201)]
# What is acknowledged may stay in shared memory for long, so that a kill is sure to lose some.
LOSSY = {
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "wal_buffers": "64MB",
    "bgwriter_lru_maxpages": "0",
    "checkpoint_timeout": "1h",
}


@asynccontextmanager
async def stocked_postgres(data_dir: Path, options: dict[str, str]) -> AsyncIterator[Postgres]:
    """A server of its own, with a full store."""
    bin_dir = os.environ.get("HOLDFAST_TEST_BIN_DIR")
    server = Postgres(data_dir, bin_dir=Path(bin_dir) if bin_dir else None, options=options)
    async with server as postgres:
        await upgrade_in_thread(postgres.url)
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("SET search_path = holdfast; SELECT create_store('main')")
        await connection.execute(
            "INSERT INTO products (store_id, product_id) SELECT 'main', unnest($1::text[])",
            PRODUCTS,
        )
        await connection.execute("UPDATE stock SET on_hand = 1000000")
        await connection.execute("CHECKPOINT")
        await connection.close()
        yield postgres


def kill_all(postgres: Postgres) -> None:
    """SIGKILL the server and every process of it, before one can tell another."""
    family = {postgres.pid}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == postgres.pid:
                family.add(int(stat.parent.name))
    for pid in family:
        with suppress(ProcessLookupError):
            os.kill(pid or 0, signal.SIGKILL)


async def accepts_again(url: str) -> Any:
    """A connection, as soon as the server takes one."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await asyncpg.connect(url)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.005)


async def kill_under_load(
    postgres: Postgres, service: Service, kills: int, *, until_lost: bool = False
) -> tuple[Load, list[float], set[str]]:
    """The load with what it was told, the seconds of each recovery, and what was lost of it."""
    load = Load(service.host, service.port, PRODUCTS, count(1))
    load.start(CALLERS)
    chance = random.Random(11)
    recoveries, lost = list[float](), set[str]()
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.3, 1.5))
        kill_all(postgres)
        acknowledged = set(load.acknowledged)
        connection = await accepts_again(postgres.url)
        accepted_at = time.monotonic()
        recoveries.append(await load.first_success() - accepted_at)
        lost |= acknowledged - await stored(connection)
        await connection.close()
        if lost and until_lost:
            break
    await load.stop()
    return load, recoveries, lost


@pytest.fixture(autouse=True)
def _restart_without_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are for servers that die by themselves, again and again."""
    monkeypatch.setattr("service.database.embedded.server.PAUSES", (0.0,))


async def test_postgresql_killed_twenty_times_loses_nothing_acknowledged(
    start: Start, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with stocked_postgres(data_dir, {}) as postgres:
        service = await (await start("serve", database_url=postgres.url, port=0)).serves()
        load, recoveries, lost = await kill_under_load(postgres, service, KILLS)
        connection = await asyncpg.connect(postgres.url)
        await assert_kept(connection, load.acknowledged)
        await connection.close()
        await service.stop()
    with capsys.disabled():
        print(
            f"\n{KILLS} kills of PostgreSQL: {load.answers.total()} answers {dict(load.answers)},"
            f" {len(load.acknowledged)} acknowledged, {len(lost)} lost,"
            f" slowest recovery {max(recoveries):.2f} s"
        )
    assert not lost
    assert load.answers.keys() <= {"ok", "outcome_unknown", "database_unavailable", "overloaded"}
    assert max(recoveries) < 5


async def test_without_synchronous_commit_the_same_test_finds_losses(
    start: Start, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control: kills like these do lose what was not on the disk, and it does not go unseen."""
    async with stocked_postgres(data_dir, LOSSY) as postgres:
        service = await (await start("serve", database_url=postgres.url, port=0)).serves()
        load, recoveries, lost = await kill_under_load(postgres, service, KILLS, until_lost=True)
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetch("SELECT * FROM holdfast.invariant_violations") == []
        await connection.close()
        await service.stop()
    with capsys.disabled():
        print(
            f"\nThe control, {len(recoveries)} kills: {len(load.acknowledged)} acknowledged,"
            f" {len(lost)} lost"
        )
    assert lost


async def test_the_service_killed_mid_request_leaves_everything_whole(
    serve_process: Start,
    dsn: str,
    stocked: Stocked,
    sql: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    await stocked(dict.fromkeys(PRODUCTS, 10**6))
    service = await serve_process()
    load = Load(service.host, service.port, PRODUCTS, count(1))
    load.start(CALLERS)
    chance = random.Random(13)
    for _ in range(KILLS):
        await asyncio.sleep(chance.uniform(0.1, 0.6))
        await service.stop(signal.SIGKILL)
        await assert_kept(sql, set(load.acknowledged))
        service = await serve_process()
        load.address = service.host, service.port
        await load.first_success()
    await load.stop()
    await assert_kept(sql, load.acknowledged)
    assert await stored(sql) == load.acknowledged
    with capsys.disabled():
        print(
            f"\n{KILLS} kills of the service: {load.answers.total()} answers"
            f" {dict(load.answers)}, {len(load.acknowledged)} acknowledged, 0 lost"
        )
    assert load.answers.keys() <= {"ok", "none", "outcome_unknown"}
