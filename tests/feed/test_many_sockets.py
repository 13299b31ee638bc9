"""2,000 sockets on one store: all of them are told within half a second."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bench.feed import PROBE, raise_file_limit, watching
from tests.server.conftest import Start

Stocked = Callable[..., Awaitable[None]]

SOCKETS = 2000


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
