"""Locks held by others, statements that never end, more callers than can be served.

FAULTS 15 and 16: everyone is answered in bounded time, and only those concerned are refused.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from service.database import coalesce, connections, pool
from service.web import stock_lane
from service.web.context import DATABASE
from tests.support.aliases import Api, Connect, Serve, Stocked
from tests.support.builders import callback
from tests.support.waits import becomes

RESERVE = "/api/v1/reserve"
LOCK_7 = "SELECT FROM stock WHERE product_id = '7' FOR UPDATE"
WAITING = "SELECT FROM pg_locks WHERE NOT granted HAVING count(DISTINCT pid) = $1"


@pytest.fixture
def api(api: Api) -> Api:
    """A client that keeps as many connections as it likes."""
    return unlimited(api)


def unlimited(api: Api) -> Api:
    assert isinstance(api.session.connector, aiohttp.TCPConnector)
    api.session.connector._limit = 0
    return api


@pytest.fixture
async def patient(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> Api:
    """The service, whose calls wait a minute for a lock, so that a test need not hurry."""
    timeouts = dict.fromkeys(("lock_timeout", "statement_timeout"), "60s")
    monkeypatch.setattr(connections, "SETTINGS", connections.SETTINGS | timeouts)
    monkeypatch.setattr(pool, "CALL_SECONDS", 60.0)
    monkeypatch.setattr(stock_lane, "IMPATIENCE", "60s")
    monkeypatch.setattr(coalesce, "PATIENCE_SECONDS", 60.0)
    return unlimited(await serve())


@asynccontextmanager
async def locked(connect_as: Connect, statement: str) -> AsyncIterator[None]:
    """While another session has run a statement and not committed."""
    connection = await connect_as("owner", is_patient=True)
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


async def takes(least: float, most: float, attempt: Callable[[], Awaitable[float]]) -> None:
    """What is attempted takes so many seconds, in one of ten times on a machine that is busy."""
    for _ in range(10):
        seconds = await attempt()
        assert least < seconds
        if seconds < most:
            return
    raise AssertionError(f"it takes {seconds:.2f} seconds")


async def test_a_locked_product_is_refused_after_two_seconds(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"7": 5})

    async def attempt() -> float:
        async with locked(connect_as, LOCK_7):
            code, seconds = await timed_reserve(api)
        assert code == "database_busy"
        return seconds

    await takes(1.9, 3.5, attempt)
    assert (await timed_reserve(api))[0] == "ok"


async def test_a_locked_product_delays_others_once_and_briefly_and_fails_none(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    products = [str(product) for product in range(1, 33)]
    await stocked(dict.fromkeys(products, 10**6))
    ids = map(str, range(1, 10**6))

    async def ask_all() -> tuple[dict[str, Any], float]:
        """What each was answered, and the seconds that it took for all but the locked one."""
        calls = {
            product: asyncio.create_task(
                timed_reserve(api, product_id=product, reservation_id=next(ids))
            )
            for product in products
        }
        answers = {product: await call for product, call in calls.items()}
        del calls["7"]
        return answers, max(answers[product][1] for product in calls)

    async def first_contact() -> float:
        async with locked(connect_as, LOCK_7):
            answers, seconds = await ask_all()
            assert answers.pop("7")[0] == "database_busy"
            assert {code for code, _ in answers.values()} == {"ok"}
        # The lock is gone: the product is served again, beside the others.
        assert (await timed_reserve(api, reservation_id=next(ids)))[0] == "ok"
        return seconds

    async def later_contact() -> float:
        answers, seconds = await ask_all()
        assert answers["7"][0] == "database_busy"
        return seconds

    await ask_all()
    await takes(0.09, 0.3, first_contact)
    async with locked(connect_as, LOCK_7):
        await ask_all()
        await takes(0, 0.09, later_contact)


async def test_many_locked_products_delay_others_no_longer_than_one(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    locked_ones, others = [str(n) for n in range(1, 33)], [str(n) for n in range(33, 65)]
    await stocked(dict.fromkeys(locked_ones + others, 10**6))
    ids = map(str, range(1, 10**6))

    async def attempt() -> float:
        async with locked(connect_as, "SELECT FROM stock WHERE product_id::int <= 32 FOR UPDATE"):
            refused, served = [
                [
                    asyncio.create_task(
                        timed_reserve(api, product_id=product, reservation_id=next(ids))
                    )
                    for product in products
                ]
                for products in (locked_ones, others)
            ]
            answers = [await call for call in served]
        assert {code for code, _ in answers} == {"ok"}
        assert {(await call)[0] for call in refused} <= {"ok", "database_busy", "overloaded"}
        return max(seconds for _, seconds in answers)

    await takes(0.09, 0.3, attempt)


async def test_a_runaway_statement_is_stopped_after_five_seconds(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    await sql.execute(
        "CREATE FUNCTION run_away() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN LOOP END LOOP; END';"
        "CREATE TRIGGER run_away BEFORE UPDATE ON stock"
        " FOR EACH STATEMENT EXECUTE FUNCTION run_away()"
    )

    async def attempt() -> float:
        code, seconds = await timed_reserve(api)
        assert code == "database_timeout"
        return seconds

    await takes(4.9, 7, attempt)
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


async def test_a_session_idle_in_a_transaction_is_not_ours_for_long(connect_as: Connect) -> None:
    for role in ("service", "reader", "owner"):
        connection = await connect_as(role)
        timeout = await connection.fetchval("SHOW idle_in_transaction_session_timeout")
        assert timeout == "10s"


async def test_more_readers_than_connections_are_refused_within_a_second(
    patient: Api, stocked: Stocked, connect_as: Connect, sql: Any
) -> None:
    await stocked({"7": 5})

    async def read() -> tuple[str, float]:
        began = time.monotonic()
        response = await patient.get(f"{RESERVE}/1001")
        return (await response.json())["code"], time.monotonic() - began

    async def refused() -> float:
        answers = await asyncio.gather(*(read() for _ in range(8)))
        assert {code for code, _ in answers} == {"overloaded"}
        return max(seconds for _, seconds in answers)

    assert patient.app is not None
    room = patient.app[DATABASE].size
    async with locked(connect_as, "LOCK TABLE reservations"):
        readers = [asyncio.create_task(read()) for _ in range(room)]
        await becomes(lambda: sql.fetch(WAITING, room))
        await takes(0.7, 1.5, refused)
        live, ready = await asyncio.gather(
            patient.get("/health/live"), patient.get("/health/ready")
        )
        assert (live.status, ready.status) == (200, 503)
        assert ready.headers["Retry-After"] == "1"
    assert [(await reader)[0] for reader in readers] == ["unknown_reservation"] * room
    assert patient.app[DATABASE].engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    assert (await patient.get("/health/ready")).status == 200
    assert (await timed_reserve(patient))[0] == "ok"


async def test_a_full_queue_refuses_the_newcomer_at_once(
    patient: Api,
    stocked: Stocked,
    connect_as: Connect,
    sql: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await stocked({"7": 50})
    assert patient.app is not None
    lane = patient.app[stock_lane.STOCK_LANE]
    monkeypatch.setattr(coalesce, "MAX_WAITING", 10)
    ids = map(str, range(1, 100))

    async def newcomer() -> float:
        code, seconds = await timed_reserve(patient, reservation_id=next(ids))
        assert code == "overloaded"
        return seconds

    async def is_full() -> bool:
        return lane._lane.items == 10

    async with locked(connect_as, LOCK_7):
        waiting = [asyncio.create_task(timed_reserve(patient, reservation_id=next(ids)))]
        await becomes(lambda: sql.fetch(WAITING, 1))
        waiting += [
            asyncio.create_task(timed_reserve(patient, reservation_id=next(ids))) for _ in range(10)
        ]
        await becomes(is_full)
        await takes(0, 1, newcomer)
        assert (await patient.get("/health/live")).status == 200
    assert Counter([code for code, _ in await asyncio.gather(*waiting)]) == {"ok": 11}
