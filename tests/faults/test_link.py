"""The link to PostgreSQL is cut, silent or slow: what a caller hears is certain, or says it is not.

FAULTS 12 and 40, and what becomes of connections that a server's restart left behind.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from service.database import connections
from tests.support.aliases import Api, Serve, Stocked
from tests.support.builders import callback, post_all
from tests.support.proxy import Link, link_to
from tests.support.waits import kill_backends

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
    assert (await api.get(f"{RESERVE}/1001")).status == 200
    link.to_client.clear()
    reading = asyncio.create_task(api.get(f"{RESERVE}/1001"))
    await asyncio.sleep(0.1)
    link.cut()
    link.heal()
    assert (await reading).status == 200


async def test_a_silent_server_is_given_up_and_served_again_once_it_answers(
    serve: Serve, link: Link, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    api = await serve(link.url)
    await api.post(RESERVE, json=callback(reservation_id="1", quantity=1))
    link.silence()
    began = time.monotonic()
    lost = await api.post(RESERVE, json=callback())
    assert (await lost.json())["code"] == "outcome_unknown"
    assert time.monotonic() - began < connections.CALL_SECONDS + 1
    refused = await api.post(RESERVE, json=callback())
    assert (await refused.json())["code"] == "database_unavailable"
    assert time.monotonic() - began < connections.CALL_SECONDS + connections.CONNECT_SECONDS + 2
    link.heal()
    assert (await api.post(RESERVE, json=callback())).status == 200
    assert await sql.fetchval("SELECT reserved FROM stock") == 4


async def test_whoever_comes_while_the_server_is_silent_waits_once_and_it_is_served_at_once_after(
    serve: Serve, link: Link, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 50})
    api = await serve(link.url)
    await post_all(api, [callback(reservation_id=str(number)) for number in range(1, 4)])
    await asyncio.gather(*(api.get(f"{RESERVE}/1") for _ in range(4)))
    link.silence()

    async def waits(answer: Awaitable[Any]) -> tuple[int, float]:
        began = time.monotonic()
        response = await answer
        return response.status, time.monotonic() - began

    waiting = []
    for number in range(10, 17):
        body = callback(reservation_id=str(number), quantity=1)
        key = {"Idempotency-Key": str(number)}
        waiting += [
            asyncio.create_task(waits(api.post(RESERVE, json=body))),
            asyncio.create_task(waits(api.get(f"{RESERVE}/1"))),
            asyncio.create_task(waits(api.post(RESERVE, json=body, headers=key))),
        ]
        await asyncio.sleep(1)
    answers = await asyncio.gather(*waiting)
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < connections.CALL_SECONDS + 2
    link.heal()
    began = time.monotonic()
    assert (await api.post(RESERVE, json=callback(reservation_id="20"))).status == 200
    assert (await api.get(f"{RESERVE}/1")).status == 200
    assert time.monotonic() - began < 2


async def test_ready_notices_within_a_second_that_the_server_is_silent(
    serve: Serve, link: Link
) -> None:
    api = await serve(link.url)
    assert (await api.get("/health/ready")).status == 200
    link.silence()
    for _ in range(2):
        began = time.monotonic()
        unready, live = await asyncio.gather(api.get("/health/ready"), api.get("/health/live"))
        assert (unready.status, live.status) == (503, 200)
        assert time.monotonic() - began < 2
    link.heal()
    assert (await api.get("/health/ready")).status == 200


async def test_a_slow_link_slows_answers_and_fails_none(
    serve: Serve, link: Link, stocked: Stocked
) -> None:
    await stocked({"7": 1000})
    api = await serve(link.url)
    link.delay = 0.05
    answers = await post_all(api, [callback(reservation_id=str(n)) for n in range(1, 51)])
    assert Counter(status for status, _ in answers) == {200: 50}


async def test_a_server_that_is_away_is_a_503_at_once_and_back_without_a_restart(
    serve: Serve, link: Link, stocked: Stocked
) -> None:
    await stocked({"7": 5})
    api = await serve(link.url)
    await api.post(RESERVE, json=callback(reservation_id="1", quantity=1))
    link.is_refusing = True
    link.cut()
    await asyncio.sleep(0.05)
    for path, body in ((RESERVE, callback()), ("/health/ready", None)):
        response = await api.request("POST" if body else "GET", path, json=body)
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert (await response.json())["code"] == "database_unavailable"
    assert (await api.get("/health/live")).status == 200
    link.heal()
    assert (await api.get("/health/ready")).status == 200
    assert (await api.post(RESERVE, json=callback())).status == 200


async def test_connections_that_a_restart_has_closed_are_replaced_unseen(
    api: Api, dsn: str, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 1000, "8": 1000})
    numbers = iter(range(1, 1000))
    for _ in range(3):
        bodies = [
            callback(reservation_id=str(next(numbers)), product_id=product, quantity=1)
            for product in ("7", "8") * 10
        ]
        answers = await post_all(api, bodies)
        reads = await asyncio.gather(*(api.get(f"{RESERVE}/1") for _ in range(30)))
        assert {status for status, _ in answers} == {response.status for response in reads} == {200}
        assert await kill_backends(dsn, sql) > 1
        await asyncio.sleep(0.05)


async def test_backends_killed_under_load_cost_only_the_calls_under_way(
    api: Api, dsn: str, stocked: Stocked, sql: Any
) -> None:
    await stocked({str(product): 10**6 for product in range(1, 9)})
    numbers = iter(range(1, 10**6))
    is_on = True
    acknowledged = set()
    codes: Counter[str] = Counter()

    async def client() -> None:
        while is_on:
            number = next(numbers)
            body = callback(reservation_id=str(number), product_id=str(number % 8 + 1))
            while True:
                response = await api.post(RESERVE, json=body)
                code = (await response.json()).get("code", "ok")
                codes[code] += 1
                if code == "ok":
                    acknowledged.add(str(number))
                    break

    clients = asyncio.gather(*(client() for _ in range(16)))
    for _ in range(10):
        await asyncio.sleep(0.1)
        await kill_backends(dsn, sql)
    is_on = False
    await clients
    # A backend that is killed while it is being connected: nothing was done.
    assert codes.keys() <= {"ok", "outcome_unknown", "database_unavailable"}
    stored = {row[0] for row in await sql.fetch("SELECT reservation_id FROM reservations")}
    assert stored == acknowledged
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == 3 * len(stored)
