"""2,000 sockets on one store: all of them are told within half a second."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from bench.feed import PROBE, raise_file_limit, watching
from tests.support.aliases import Stocked
from tests.support.processes import Start, open_files
from tests.support.sockets import SlowReader
from tests.support.waits import LISTENERS, becomes

SOCKETS = 2000
# A report of more than a megabyte.
MANY = {f"{'item' * 15}{number:04}": 1 for number in range(1, 9001)}
ITEM = next(iter(MANY))


@pytest.mark.faults
async def test_2000_sockets_are_told_within_500_ms(
    serve_process: Start, stocked: Stocked, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_file_limit(SOCKETS)
    await stocked({PROBE: 1, **dict.fromkeys("123456789", 100)})
    service = await serve_process()
    async with watching(service.host, service.port, SOCKETS, sql) as crowd:
        await crowd.told()
        times = sorted([(await crowd.told())[0] for _ in range(10)])
    with capsys.disabled():
        print(f"\n{SOCKETS} sockets told within {times[-1] * 1000:.0f} ms at worst")
    assert times[-1] < 0.5


@pytest.mark.faults
async def test_readers_that_take_nothing_are_cut_off_and_memory_is_bounded(
    serve_process: Start, stocked: Stocked, sql: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    await stocked(MANY)
    service = await serve_process()
    pid = service.process.pid
    slow = [SlowReader(service.host, service.port, "report") for _ in range(50)]
    for each in slow:
        await each.connect()
    await becomes(lambda: asyncio.sleep(0, open_files(pid) > 50))
    await becomes(lambda: sql.fetchval(LISTENERS))
    idle = most = memory(pid)
    quantity = 100
    async with asyncio.timeout(60):
        while open_files(pid) > 50:
            quantity += 1
            await sql.execute("UPDATE stock SET on_hand = $1 WHERE product_id = $2", quantity, ITEM)
            await asyncio.sleep(0.25)
            most = max(most, memory(pid))
    for each in slow:
        assert len(await each.frames()) < 8
        each.close()
    with capsys.disabled():
        print(f"\n{quantity - 100} reports of 1.1 MB, 50 stalled readers: +{most - idle:.0f} MB")
    assert most - idle < 120  # one report each at most, and one of ours


def memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6
