"""Locks held by others, statements that never end, more callers than can be served.

FAULTS 15 and 16: everyone is answered in bounded time, and only those concerned are refused.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from service.domains.reservations import RESERVATIONS
from service.web.context import DATABASE
from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import callback

RESERVE = "/api/v1/reserve"


@pytest.fixture
def api(api: Api) -> Api:
    """A client that keeps as many connections as it likes."""
    assert isinstance(api.session.connector, aiohttp.TCPConnector)
    api.session.connector._limit = 0
    return api


@asynccontextmanager
async def locked(connect_as: Connect, statement: str) -> AsyncIterator[None]:
    """While another session has run a statement and not committed."""
    connection = await connect_as("owner")
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(statement)
    yield
    await transaction.rollback()


async def timed_reserve(api: Api, **changes: Any) -> tuple[str, float]:
    """The code of the answer (ok: reserved) and the seconds it took."""
    began = time.monotonic()
    response = await api.post(RESERVE, json=callback(quantity=1, **changes))
    answer = await response.json()
    assert (response.status == 503) == ("Retry-After" in response.headers)
    return answer.get("code", "ok"), time.monotonic() - began


LOCK_7 = "SELECT FROM stock WHERE product_id = '7' FOR UPDATE"


async def test_a_locked_product_is_refused_after_two_seconds(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"7": 5})
    async with locked(connect_as, LOCK_7):
        code, seconds = await timed_reserve(api)
        assert code == "database_busy"
        assert 1.9 < seconds < 3.5
    assert (await timed_reserve(api))[0] == "ok"


async def test_a_locked_product_delays_the_others_of_its_lane_once_and_fails_none(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    products = [str(product) for product in range(1, 33)]
    await stocked(dict.fromkeys(products, 10**6))
    ids = iter(range(1, 10**6))
    answers: dict[str, list[tuple[str, float]]] = {"7": [], "others": []}

    async def reserve(product_id: str) -> None:
        answer = await timed_reserve(api, product_id=product_id, reservation_id=str(next(ids)))
        answers["7" if product_id == "7" else "others"].append(answer)

    began = time.monotonic()
    async with asyncio.TaskGroup() as callers, locked(connect_as, LOCK_7):
        while time.monotonic() - began < 4.5:
            for product_id in products:
                callers.create_task(reserve(product_id))
            await asyncio.sleep(0.25)
    assert Counter(code for code, _ in answers["7"])["database_busy"] > 5
    assert Counter(code for code, _ in answers["others"]) == {"ok": len(answers["others"])}
    assert max(seconds for _, seconds in answers["7"]) < 6
    assert max(seconds for _, seconds in answers["others"]) < 3.5
    of_the_end = [seconds for _, seconds in answers["others"]][-4 * len(products) :]
    assert max(of_the_end) < 1
    # The lock is gone: the product is served again, at once.
    code, seconds = await timed_reserve(api, reservation_id="999999")
    assert code == "ok"
    assert seconds < 1


async def test_a_runaway_statement_is_stopped_after_five_seconds(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    await sql.execute(
        "CREATE OR REPLACE FUNCTION lock_stock(p_store_id text, p_product_ids text[])"
        " RETURNS void LANGUAGE plpgsql AS 'BEGIN LOOP END LOOP; END'"
    )
    code, seconds = await timed_reserve(api)
    assert code == "database_busy"
    assert 4.9 < seconds < 7
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


async def test_a_session_idle_in_a_transaction_is_not_ours_for_long(connect_as: Connect) -> None:
    for role in ("service", "reader", "owner"):
        connection = await connect_as(role)
        timeout = await connection.fetchval("SHOW idle_in_transaction_session_timeout")
        assert timeout == "10s"


async def test_more_readers_than_connections_are_refused_within_a_second(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"7": 5})

    async def read() -> tuple[str, float]:
        began = time.monotonic()
        response = await api.get(f"{RESERVE}/1001")
        return (await response.json())["code"], time.monotonic() - began

    assert api.app is not None
    room = api.app[DATABASE].size
    async with locked(connect_as, "LOCK TABLE reservations"):
        readers = asyncio.gather(*(read() for _ in range(40)))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        live, ready = await asyncio.gather(api.get("/health/live"), api.get("/health/ready"))
        assert (live.status, ready.status) == (200, 503)
        assert time.monotonic() - began < 1.5
        assert ready.headers["Retry-After"] == "1"
        assert (await timed_reserve(api))[0] == "database_busy"  # has connections of its own
        answers = await readers
    codes = Counter(code for code, _ in answers)
    assert codes == {"database_busy": room, "overloaded": 40 - room}
    assert max(seconds for code, seconds in answers if code == "overloaded") < 1.5
    assert api.app[DATABASE].engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert (await api.get("/health/ready")).status == 200
    assert (await timed_reserve(api))[0] == "ok"


async def test_a_full_queue_refuses_the_newcomer_at_once(
    api: Api, stocked: Stocked, connect_as: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stocked({"7": 50})
    assert api.app is not None
    monkeypatch.setattr(api.app[RESERVATIONS], "_max_waiting", 10)
    async with locked(connect_as, LOCK_7):
        ids = map(str, range(1, 100))
        waiting = [asyncio.create_task(timed_reserve(api, reservation_id=next(ids)))]
        await asyncio.sleep(0.2)
        waiting += [
            asyncio.create_task(timed_reserve(api, reservation_id=next(ids))) for _ in range(10)
        ]
        await asyncio.sleep(0.2)
        code, seconds = await timed_reserve(api, reservation_id=next(ids))
        assert code == "overloaded"
        assert seconds < 1
        assert (await api.get("/health/live")).status == 200
    assert Counter([code for code, _ in await asyncio.gather(*waiting)]) == {"ok": 11}
