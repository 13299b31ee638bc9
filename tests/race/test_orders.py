"""Verbs on orders against each other, and the proof that the order's lock helps."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.database import sql_files
from tests.support.aliases import Api, Connect
from tests.support.orders import Answer, Shop, code_of, open_shop
from tests.support.waits import until_waiting

PAY = "SELECT result_code FROM pay_order('main', $1, NULL, NULL, 'till', 'tests')"
CANCEL = "SELECT result_code FROM cancel_order('main', $1, NULL, 'tests')"


@pytest.fixture
async def shop(api: Api, sql: Any) -> Shop:
    return await open_shop(api, sql)


async def test_of_300_additions_to_50_orders_the_last_100_units_are_held(shop: Shop) -> None:
    await shop.priced({"last": 10}, on_hand=100)
    orders = [await shop.order() for _ in range(50)]
    answers = await asyncio.gather(*(shop.add(orders[n % 50], "last") for n in range(300)))
    assert Counter(status for status, _ in answers) == {201: 100, 409: 200}
    details = {answer["detail"] for status, answer in answers if status == 409}
    assert details == {"Not enough stock in stock"}
    assert (await shop.levels())["last"] == (100, 0)
    lines = "SELECT sum(quantity) FROM order_lines WHERE product_id = 'last'"
    assert await shop.sql.fetchval(lines) == 100


async def test_verbs_against_each_other_end_in_one_state(shop: Shop) -> None:
    _, account_id, ann = await shop.customer(balance=10_000)
    for number in range(12):
        order_id = await shop.order(ann, tea=1, milk=1)
        if number % 3 == 0:
            await shop.lapse(order_id)
        verbs: list[Awaitable[Answer]] = [
            shop.pay(order_id, ann, account_id=account_id),
            shop.do("cancel", order_id, ann),
            shop.add(order_id, "salt", 1, ann),
            shop.set(order_id, "tea", 2, ann),
            shop.refund(order_id, ("milk", 1, True)),
        ]
        random.Random(number).shuffle(verbs)
        sweep = asyncio.create_task(shop.sweep())
        answers = await asyncio.gather(*verbs)
        await sweep
        order = await shop.read(order_id)
        assert order["status"] in ("paid", "cancelled")
        ended = {code_of(answer) for answer in answers} & {(200, "paid"), (200, "cancelled")}
        assert ended == {(200, order["status"])}


async def test_baskets_in_opposite_order_do_not_deadlock(shop: Shop) -> None:
    await change_at_random(shop, seconds=3)


@pytest.mark.faults
async def test_baskets_in_opposite_order_for_a_minute(shop: Shop) -> None:
    await change_at_random(shop, seconds=60)


async def change_at_random(shop: Shop, seconds: float) -> None:
    """Eight clients add, set and cancel, each with its products in another order."""
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await shop.sql.fetchval(deadlocks)
    until = asyncio.get_running_loop().time() + seconds

    async def change(number: int) -> None:
        chance = random.Random(number)
        products = ["tea", "milk", "salt"]
        while asyncio.get_running_loop().time() < until:
            order_id = await shop.order()
            chance.shuffle(products)
            for product_id in products:
                assert (await shop.add(order_id, product_id))[0] in (201, 409)
            chance.shuffle(products)
            for product_id in products:
                assert (await shop.set(order_id, product_id, chance.randrange(3)))[0] in (
                    *(200, 404, 409),
                )
            assert (await shop.do("cancel", order_id))[0] == 200

    await asyncio.gather(*map(change, range(8)))
    assert await shop.sql.fetchval(deadlocks) == before
    assert {each: available for each, (_, available) in (await shop.levels()).items()} == {
        "tea": 10,
        "milk": 10,
        "salt": 10,
    }


async def second_of_two(connect_as: Connect, order_id: str) -> str:
    """What a cancel answers that comes while a payment has not committed."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval(PAY, order_id) == "ok"
    waiting = asyncio.create_task(second.fetchval(CANCEL, order_id))
    await until_waiting(first, second)
    await transaction.commit()
    return str(await waiting)


async def test_a_cancel_waits_for_a_payment_and_is_told(shop: Shop, connect_as: Connect) -> None:
    order_id = await shop.order(tea=1)
    assert await second_of_two(connect_as, order_id) == "order_closed"


async def test_without_the_orders_lock_the_race_is_real(
    shop: Shop, connect_as: Connect, without_lock: Callable[[str, str], Awaitable[None]]
) -> None:
    """It then judges the order as it was: only the guard of what has ended stops it."""
    order_id = await shop.order(tea=1)
    await without_lock("orders/lock_order.sql", " FOR UPDATE")
    with pytest.raises(Exception, match="is paid: UPDATE is refused"):
        await second_of_two(connect_as, order_id)


@pytest.fixture
def without_lock(sql: Any) -> Callable[[str, str], Awaitable[None]]:
    """without_lock(file, clause): install a function of sql/ with a clause left out."""

    async def install(path: str, clause: str) -> None:
        body = (sql_files.SQL / path).read_text()
        assert body.count(clause) == 1
        await sql.execute(body.replace(clause, ""))

    return install
