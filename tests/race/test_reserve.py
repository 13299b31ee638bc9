"""Many callers at once: FAULTS-style races over HTTP, and the proof that the lock is what helps."""

import asyncio
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import URL, answer, callback, post_all, reserve, reserved
from tests.support.waits import certain


async def test_500_clients_for_one_unit_one_gets_it(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 1})
    bodies = [callback(reservation_id=str(n), quantity=1) for n in range(1, 501)]
    answers = await post_all(api, bodies)
    assert Counter(status for status, _ in answers) == {200: 1, 409: 499}
    codes = Counter(body.get("code", "ok") for _, body in answers)
    assert codes == {"ok": 1, "insufficient_stock": 499}
    (winner,) = [body["reservation_id"] for status, body in answers if status == 200]
    assert await sql.fetchval("SELECT string_agg(reservation_id, ',') FROM reservations") == winner


async def test_the_same_callback_200_times_holds_once(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 1000})
    answers = await post_all(api, [callback()] * 200)
    assert Counter(status for status, _ in answers) == {200: 200}
    assert all(body == answers[0][1] for _, body in answers)
    assert await reserved(sql) == {"7": 3}


async def test_one_id_for_two_contents_keeps_the_first(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 1000, "8": 1000})
    bodies = [callback(product_id=product) for product in ("7", "8")] * 100
    answers = await post_all(api, bodies)
    assert Counter(status for status, _ in answers) == {200: 100, 409: 100}
    assert sum((await reserved(sql)).values()) == 3


async def test_twins_in_two_processes_hold_once(
    serve: Callable[..., Awaitable[Api]], stocked: Stocked, sql: Any
) -> None:
    """Each process has a coalescer of its own: here only the unique key stands between them."""
    await stocked({str(product): 1000 for product in range(1, 9)})
    services = [await serve(), await serve()]
    bodies = [callback(reservation_id=str(n), product_id=str(n % 8 + 1)) for n in range(1, 201)]
    answers = await asyncio.gather(*(post_all(service, bodies) for service in services))
    assert Counter(status for batch in answers for status, _ in batch) == {200: 400}
    assert sum((await reserved(sql)).values()) == 600


async def test_baskets_in_opposite_order_never_deadlock(
    connect_as: Connect, stocked: Stocked
) -> None:
    products = [f"p{n}" for n in range(6)]
    await stocked(dict.fromkeys(products, 10**6))
    codes: Counter[str] = Counter()

    async def shop(seed: int) -> None:
        connection = await connect_as("service", is_patient=True)
        chance = random.Random(seed)
        for n in range(60):
            basket = chance.sample(products, 4)
            codes.update(await reserve(connection, (f"{seed}-{n}", [(p, 1) for p in basket])))

    await asyncio.gather(*map(shop, range(12)))
    assert codes == {"ok": 720}


async def test_lines_of_one_product_that_exceed_stock_together_hold_nothing(
    serve: Callable[..., Awaitable[Api]], stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 5, "cup": 50})
    services = [await serve(), await serve()]
    lines = [{"product_id": p, "quantity": q} for p, q in (("tea", 3), ("cup", 1), ("tea", 3))]

    async def post(number: int) -> tuple[int, dict[str, Any]]:
        body = {"reservation_id": f"cart-{number}", "lines": lines}
        return await answer(await services[number % 2].post(URL, json=body))

    answers = await asyncio.gather(*map(post, range(100)))
    assert Counter(status for status, _ in answers) == {409: 100}
    short = [{"product_id": "tea", "quantity": 6, "available": 5}]
    assert all(body["lines"] == short for _, body in answers)
    assert await reserved(sql) == {"cup": 0, "tea": 0}
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


async def shop_in_opposite_order(services: list[Api], products: list[str], seconds: float) -> int:
    """How many baskets were held; every answer must be 201, or 200 where they are given back."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    held = 0

    async def shop(seed: int) -> None:
        nonlocal held
        chance, api = random.Random(seed), services[seed % 2]
        for n in itertools.count():
            basket = chance.sample(products, 4)
            cart = f"{seed}-{n}"
            lines = [{"product_id": product, "quantity": 1} for product in basket]
            sent = {"reservation_id": cart, "lines": lines}
            status, body = await certain(partial(api.post, URL, json=sent))
            assert status == 201, body
            verb = chance.choice(["commit", "release"])
            status, body = await certain(partial(api.post, f"{URL}/{cart}/{verb}"))
            assert status == 200, body
            held += 1
            if loop.time() >= ends_at:
                break

    await asyncio.gather(*map(shop, range(12)))
    return held


@pytest.mark.parametrize("seconds", [1, pytest.param(60, marks=pytest.mark.faults)])
async def test_baskets_in_opposite_order_over_the_api_are_all_served(
    serve: Callable[..., Awaitable[Api]], stocked: Stocked, sql: Any, seconds: float
) -> None:
    products = [f"p{n}" for n in range(6)]
    await stocked(dict.fromkeys(products, 10**6))
    held = await shop_in_opposite_order([await serve(), await serve()], products, seconds)
    made = "SELECT count(DISTINCT reservation_id) FROM reservations"
    assert await sql.fetchval(made) == held
    assert sum((await reserved(sql)).values()) == 0
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert await sql.fetchval(deadlocks) == 0


async def test_two_dbas_in_psql_and_the_service_change_the_same_products(
    api: Api, dsn: str, stocked: Stocked, sql: Any
) -> None:
    await stocked({str(product): 100 for product in range(1, 6)})
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("needs psql")

    async def by_hand(actor: str, step: int) -> str:
        add_one = "UPDATE holdfast.stock SET on_hand = on_hand + 1 WHERE product_id ="
        script = f"SET holdfast.actor = '{actor}';\n" + "".join(
            f"{add_one} '{n * step % 5 + 1}';\n" for n in range(200)
        )
        process = await asyncio.create_subprocess_exec(
            *(psql or "", "-qX", "-v", "ON_ERROR_STOP=1", dsn),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate(script.encode())
        assert process.returncode == 0, errors
        return errors.decode()

    bodies = [
        callback(reservation_id=str(n), product_id=str(n % 5 + 1), quantity=1)
        for n in range(1, 401)
    ]
    *errors, answers = await asyncio.gather(
        by_hand("maria", 1), by_hand("peter", 4), post_all(api, bodies)
    )
    assert errors == ["", ""]
    assert Counter(status for status, _ in answers) == {200: 400}
    assert await sql.fetchval("SELECT sum(on_hand) FROM stock") == 900
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == 400
    rows = await sql.fetch(
        "SELECT actor, reason, count(*) FROM stock_movements"
        " WHERE actor IN ('maria', 'peter') GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("maria", "adjustment", 200),
        ("peter", "adjustment", 200),
    ]
