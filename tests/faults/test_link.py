"""The link to PostgreSQL is cut, silent or slow: what a caller hears is certain, or says it is not.

FAULTS 12 and 40, and what becomes of connections that a server's restart left behind.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from service import database
from tests.conftest import Api
from tests.faults.proxy import Link, link_to
from tests.race.test_reserve import post_all
from tests.stock.test_reserve_routes import callback

Stocked = Callable[..., Awaitable[None]]
Serve = Callable[..., Awaitable[Api]]
RESERVE = "/api/v1/reserve"


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Link]:
    async with link_to(dsn) as link:
        yield link


async def becomes(sql: Any, query: str) -> None:
    """Wait until a query answers true."""
    async with asyncio.timeout(5):
        while not await sql.fetchval(query):
            await asyncio.sleep(0.01)


async def test_a_link_cut_after_the_commit_leaves_the_outcome_unknown_and_a_repeat_tells(
    serve: Serve, link: Link, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    api = await serve(link.url)
    await api.post(RESERVE, json=callback(reservation_id="1", quantity=1))
    link.to_client.clear()
    lost = asyncio.create_task(api.post(RESERVE, json=callback()))
    await becomes(sql, "SELECT EXISTS (SELECT FROM reservations WHERE reservation_id = '1001')")
    link.cut()
    response = await lost
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert (await response.json())["code"] == "outcome_unknown"

    link.heal()
    repeat = await api.post(RESERVE, json=callback())
    assert repeat.status == 200
    assert await sql.fetchval("SELECT reserved FROM stock") == 4


async def test_a_link_cut_before_the_call_arrived_says_the_same_and_the_repeat_reserves(
    serve: Serve, link: Link, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    api = await serve(link.url)
    await api.post(RESERVE, json=callback(reservation_id="1", quantity=1))
    link.to_server.clear()
    lost = asyncio.create_task(api.post(RESERVE, json=callback()))
    await asyncio.sleep(0.1)
    link.cut()
    assert (await (await lost).json())["code"] == "outcome_unknown"
    link.heal()
    assert await sql.fetchval("SELECT reserved FROM stock") == 1
    assert (await api.post(RESERVE, json=callback())).status == 200
    assert await sql.fetchval("SELECT reserved FROM stock") == 4


async def test_a_read_whose_link_is_cut_is_asked_again(
    serve: Serve, link: Link, stocked: Stocked
) -> None:
    await stocked({"7": 5})
    api = await serve(link.url)
    await api.post(RESERVE, json=callback())
    link.to_client.clear()
    reading = asyncio.create_task(api.get(f"{RESERVE}/1001"))
    await asyncio.sleep(0.1)
    link.cut()
    link.heal()
    assert (await reading).status == 200


async def test_a_silent_server_is_given_up_and_forgotten_once_it_answers(
    serve: Serve, link: Link, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    api = await serve(link.url)
    await api.post(RESERVE, json=callback(reservation_id="1", quantity=1))
    link.silence()
    began = time.monotonic()
    lost = asyncio.create_task(api.post(RESERVE, json=callback()))
    assert (await (await lost).json())["code"] == "outcome_unknown"
    print("outcome_unknown after", time.monotonic() - began)
    assert time.monotonic() - began < database.CALL_SECONDS + 1
    began = time.monotonic()
    refused = await api.post(RESERVE, json=callback())
    print((await refused.json())["code"], time.monotonic() - began)
    link.heal()
    assert (await api.post(RESERVE, json=callback())).status == 200
    assert await sql.fetchval("SELECT reserved FROM stock") == 4
    assert (await api.get("/health/ready")).status == 200


async def test_ready_tells_within_a_second_that_the_server_is_silent(
    serve: Serve, link: Link
) -> None:
    api = await serve(link.url)
    assert (await api.get("/health/ready")).status == 200
    link.silence()
    for _ in range(2):
        began = time.monotonic()
        unready, live = await asyncio.gather(api.get("/health/ready"), api.get("/health/live"))
        assert (unready.status, live.status) == (503, 200)
        print(time.monotonic() - began)
    link.heal()
    assert (await api.get("/health/ready")).status == 200
