"""Callers that hang up, FAULTS 14: what they asked for happens whole or not at all."""

import asyncio
import random
from typing import Any

import pytest

from service.logs import RequestLine
from service.web.context import DATABASE
from tests.support.aliases import Api, Stocked
from tests.support.builders import callback
from tests.support.load import written

DISCONNECTS = 1500
AT_ONCE = 50


async def test_1500_callers_hang_up_at_random_moments(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({str(product): 10**6 for product in range(1, 9)})
    chance = random.Random(14)
    numbers = iter(range(1, DISCONNECTS + 1))
    cut_short, answered = set(), set()

    async def hang_up_again_and_again() -> None:
        for number in numbers:
            message = written(callback(reservation_id=str(number), product_id=str(number % 8 + 1)))
            sent = message[: chance.choice([len(message), chance.randrange(len(message))])]
            reader, writer = await asyncio.open_connection(api.host, api.port)
            writer.write(sent)
            try:
                async with asyncio.timeout(chance.choice([0, 0.001, 0.005, 0.05])):
                    assert (await reader.readuntil()).startswith(b"HTTP/1.1 200")
                    answered.add(str(number))
            except TimeoutError:
                pass
            if len(sent) < len(message):
                cut_short.add(str(number))
            if chance.random() < 0.5:
                writer.transport.abort()
            writer.close()

    await asyncio.gather(*(hang_up_again_and_again() for _ in range(AT_ONCE)))
    last = await api.post("/api/v1/reserve", json=callback(reservation_id="999999"))
    assert last.status == 200
    assert api.app is not None
    pool: Any = api.app[DATABASE].engine.pool
    async with asyncio.timeout(5):
        while pool.checkedout():
            await asyncio.sleep(0.01)
    stored = {row[0] for row in await sql.fetch("SELECT reservation_id FROM reservations")}
    assert answered <= stored
    assert not cut_short & stored
    assert len(stored) > DISCONNECTS / 4
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == 3 * len(stored)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_hanging_up_within_a_body_is_no_error_of_ours(
    api: Api, request_lines: list[RequestLine], how: str
) -> None:
    _, writer = await asyncio.open_connection(api.host, api.port)
    writer.write(written(callback())[:-1])
    await writer.drain()
    await asyncio.sleep(0.1)
    getattr(writer.transport, how)()
    async with asyncio.timeout(5):
        while not request_lines:
            await asyncio.sleep(0.01)
    assert [line.level for line in request_lines] == ["info"]
