"""100,000 callbacks over 10,000 products: what is reserved is what was acknowledged."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from tests.support.aliases import Stocked
from tests.support.builders import callback
from tests.support.load import Wire, assert_kept
from tests.support.processes import Start

CALLBACKS = 100_000
PRODUCTS = 10_000
ON_HAND = 9
"""Of each product; callbacks ask for 10 on average."""
CONNECTIONS = 64


@pytest.mark.faults
@pytest.mark.parametrize("processes", [1, 2])
async def test_100_000_callbacks_over_10_000_products_add_up(
    serve_process: Start,
    start: Start,
    dsn: str,
    stocked: Stocked,
    sql: Any,
    capsys: pytest.CaptureFixture[str],
    processes: int,
) -> None:
    await stocked(dict.fromkeys(map(str, range(1, PRODUCTS + 1)), ON_HAND))
    service = await serve_process(processes=processes)
    numbers = iter(range(CALLBACKS))
    statuses: Counter[int] = Counter()
    acknowledged = set[str]()

    async def client() -> None:
        wire = Wire(service.host, service.port)
        for number in numbers:
            body = callback(
                reservation_id=str(number + 1), product_id=str(number % PRODUCTS + 1), quantity=1
            )
            status, _ = await wire.post(body)
            statuses[status] += 1
            if status == 200:
                acknowledged.add(body["reservation_id"])
        wire.close()

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    rate = CALLBACKS / (time.monotonic() - began)
    assert statuses == {200: PRODUCTS * ON_HAND, 409: CALLBACKS - PRODUCTS * ON_HAND}
    await assert_kept(sql, acknowledged)
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == len(acknowledged)
    check = await start("check", database_url=dsn)
    assert await check.ends() == 0
    with capsys.disabled():
        print(f"\n{CALLBACKS} callbacks, {processes} processes: {dict(statuses)}, {rate:.0f}/s")
