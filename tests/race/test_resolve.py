"""Commit, release, extend and expiry at once, and the proof that the lock is what helps."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine
from typing import Any, NamedTuple

import pytest

from tests.support.aliases import Api, Connect, Serve, Stocked
from tests.support.builders import URL, hold, lapse, stock
from tests.support.waits import certain, until_waiting

ON_HAND = {"cup": 50, "tea": 50}
ON_HAND_FREE = {product: (units, 0) for product, units in ON_HAND.items()}
LINES = [{"product_id": "tea", "quantity": 2}, {"product_id": "cup", "quantity": 1}]
VERBS = {"commit": "committed", "release": "released"}


class Answer(NamedTuple):
    """What a verb was answered."""

    verb: str
    status: int
    body: dict[str, Any]


async def ask(api: Api, verb: str, reservation_id: str) -> Answer:
    """Send a verb until the answer is certain."""
    sent: dict[str, Any] = {"json": {"ttl_seconds": 1200}} if verb == "extend" else {}
    status, body = await certain(lambda: api.post(f"{URL}/{reservation_id}/{verb}", **sent))
    return Answer(verb, status, body)


def assert_one_end(end: str, answers: list[Answer]) -> None:
    """The verb that won is answered 200 every time, the others 409 once it has."""
    winners = [answer.body.get("closed_at") for answer in answers if VERBS.get(answer.verb) == end]
    for answer in answers:
        winner = VERBS.get(answer.verb)
        is_won = winner == end
        assert answer.status in ({200} if is_won else {200, 409} if winner is None else {409})
        if answer.status == 409:
            assert answer.body["code"] == "reservation_closed"
        if is_won:
            assert answer.body["status"] == end
            assert answer.body["closed_at"] == winners[0]
        elif answer.status == 200:
            assert answer.body["status"] == "held"


async def assert_books(sql: Any, ends: dict[str, str]) -> None:
    """Stock and ledger are what the reservations' ends say, each of them counted once."""
    committed = sorted(each for each, end in ends.items() if end == "committed")
    gone = len(committed)
    assert await stock(sql) == {"cup": (50 - gone, 0), "tea": (50 - 2 * gone, 0)}
    rows = await sql.fetch(
        "SELECT reference, product_id, delta FROM stock_movements WHERE reason = 'commit'"
    )
    assert sorted(map(tuple, rows)) == sorted(
        (each, product, delta)
        for each in committed
        for product, delta in (("cup", -1), ("tea", -2))
    )


@pytest.mark.parametrize("expires", [False, True])
async def test_a_reservation_ends_once_whoever_comes_first(
    serve: Serve, stocked: Stocked, connect_as: Connect, sql: Any, expires: bool
) -> None:
    await stocked(ON_HAND)
    services = [await serve(), await serve()]
    dba, worker = await connect_as("owner"), await connect_as("worker")
    ends: dict[str, str] = {}
    for number in range(6):
        cart, chance = f"cart-{number}", random.Random(number)
        body = hold(reservation_id=cart, lines=LINES, ttl_seconds=600)
        assert (await services[0].post(URL, json=body)).status == 201
        calls: list[Coroutine[Any, Any, Any]] = [
            ask(service, verb, cart)
            for service in services
            for verb in ("commit", "release", "extend")
            for _ in range(13)
        ]
        chance.shuffle(calls)
        if expires:

            async def expire(cart: str = cart) -> None:
                await lapse(dba, cart)
                for _ in range(5):
                    await worker.execute("SELECT expire_reservations('main')")

            # Every other time expiry has a head start, else it would seldom win.
            calls.insert(0 if number % 2 else chance.randrange(len(calls)), expire())
        answers = [each for each in await asyncio.gather(*calls) if each]
        status = await services[1].get(f"{URL}/{cart}")
        ends[cart] = (await status.json())["status"]
        assert_one_end(ends[cart], answers)
    assert set(ends.values()) <= {"committed", "released"} | ({"expired"} if expires else set())
    await assert_books(sql, ends)


async def test_expiry_first_closes_a_reservation_to_all(
    serve: Serve, stocked: Stocked, connect_as: Connect, sql: Any
) -> None:
    """The sweeper, and those who take lapsed units back, give them back once between them."""
    await stocked(ON_HAND)
    services = [await serve(), await serve()]
    workers = [await connect_as("worker") for _ in range(4)]
    for number in range(10):
        body = hold(reservation_id=f"cart-{number}", lines=LINES, ttl_seconds=600)
        assert (await services[0].post(URL, json=body)).status == 201
        await lapse(sql, f"cart-{number}")
    sweep = "SELECT expired_count FROM expire_reservations('main', 3)"
    asked = [
        ask(service, verb, f"cart-{number}")
        for number in range(10)
        for service in services
        for verb in ("commit", "release", "extend")
    ]
    swept = [worker.fetchval(sweep) for worker in workers]
    answers, counts = await asyncio.gather(asyncio.gather(*asked), asyncio.gather(*swept))
    assert Counter((each.status, each.body["code"]) for each in answers) == {
        (409, "reservation_closed"): 60
    }
    rest = "SELECT expired_count FROM expire_reservations('main')"
    assert sum(counts) + await sql.fetchval(rest) == 10
    await assert_books(sql, {f"cart-{number}": "expired" for number in range(10)})


async def add_gate(sql: Any, *, locks: bool) -> None:
    """Let whoever has looked at a reservation wait at a gate; without locks, if asked so."""
    for name in ("lock_stock", "lock_reservation"):
        source = await sql.fetchval("SELECT pg_get_functiondef($1::regproc)", name)
        changed = source
        if name == "lock_reservation":
            gate = "PERFORM pg_advisory_xact_lock_shared(6);\n    RETURN v_line;"
            changed = changed.replace("RETURN v_line;", gate)
        if not locks:
            changed = changed.replace("FOR UPDATE", "")
            assert "FOR UPDATE" not in changed
        assert locks or changed != source
        await sql.execute(changed)


async def all_at_once(connect_as: Connect, verbs: list[str]) -> Counter[str]:
    """The codes of verbs on one reservation that are all under way before any can finish."""
    gate = await connect_as("owner")
    await gate.execute("SELECT pg_advisory_lock(6)")
    callers = [await connect_as("service", is_patient=True) for _ in verbs]
    calls = asyncio.gather(
        *(
            caller.fetchval(f"SELECT result_code FROM {verb}_reservation('main', 'cart-1')")
            for caller, verb in zip(callers, verbs, strict=True)
        )
    )
    for caller in callers:
        await until_waiting(gate, caller)
    await gate.execute("SELECT pg_advisory_unlock(6)")
    return Counter(await calls)


TOGETHER = [["commit"] * 4, ["release"] * 4, ["commit", "release"] * 2]


async def hold_among_others(api: Api) -> None:
    """Enough is held and on hand that no CHECK constraint stands in for the lock."""
    for number in range(1, 9):
        body = hold(reservation_id=f"cart-{number}", lines=LINES)
        assert (await api.post(URL, json=body)).status == 201


@pytest.mark.parametrize("verbs", TOGETHER)
async def test_of_verbs_at_once_one_does_it(
    api: Api, stocked: Stocked, connect_as: Connect, sql: Any, verbs: list[str]
) -> None:
    await stocked(ON_HAND)
    await hold_among_others(api)
    await add_gate(sql, locks=True)
    codes = await all_at_once(connect_as, verbs)
    assert (codes["ok"], codes.total()) == (1, 4)
    assert codes.keys() <= {"ok", "already_committed", "already_released", "reservation_closed"}


@pytest.mark.parametrize("verbs", TOGETHER)
async def test_without_the_lock_each_of_them_does_it(
    api: Api, stocked: Stocked, connect_as: Connect, sql: Any, verbs: list[str]
) -> None:
    """Shows that the race above is real: all would be told that it was their doing."""
    await stocked(ON_HAND)
    await hold_among_others(api)
    await add_gate(sql, locks=False)
    codes = await all_at_once(connect_as, verbs)
    assert (codes["ok"], codes.total()) == (4, 4)


async def test_a_reservation_not_yet_committed_is_unknown_and_nobody_waits_for_it(
    connect_as: Connect, stocked: Stocked
) -> None:
    await stocked(ON_HAND)
    maker, caller = await connect_as("owner"), await connect_as("service")
    transaction = maker.transaction()
    await transaction.start()
    await maker.fetch("SELECT reserve_stock('main', 'cart-1', 'tea', 2)")
    call = "SELECT result_code FROM commit_reservation('main', 'cart-1')"
    assert await caller.fetchval(call) == "unknown_reservation"
    await transaction.commit()
    assert await caller.fetchval(call) == "ok"


async def test_what_is_extended_while_the_sweeper_waits_is_left_alone(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    """The sweeper has seen the hold lapsed; a clock that is behind let it be extended meanwhile."""
    await stocked(ON_HAND)
    await sql.fetch("SELECT reserve_stock('main', 'cart-1', 'tea', 2, NULL, '1 hour')")
    await lapse(sql)
    other = await connect_as("owner", is_patient=True)
    worker = await connect_as("worker", is_patient=True)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM stock WHERE product_id = 'tea' FOR UPDATE")
    await other.execute("UPDATE reservations SET expires_at = clock_timestamp() + interval '1 h'")
    sweep = "SELECT expired_count FROM expire_reservations('main')"
    sweeping = asyncio.create_task(worker.fetchval(sweep))
    await until_waiting(sql, worker)
    await transaction.commit()
    assert await sweeping == 0
    assert await sql.fetchval("SELECT status::text FROM reservations") == "held"
    await lapse(sql)
    assert await worker.fetchval(sweep) == 1
    assert await stock(sql) == ON_HAND_FREE
