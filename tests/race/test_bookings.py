"""Confirms, moves, cancels and closings against each other, and the proof that the lock helps."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from service.database import sql_files
from tests.support.aliases import Connect, Serve
from tests.support.bookings import Restaurant, at
from tests.support.builders import bearer, create_user, token_of
from tests.support.waits import until_waiting

DEFAULTS = '{"time_zone": "UTC", "reminder_hours": 0, "booking_minutes": 120}'
CONFIRM = "SELECT result_code FROM confirm_booking('main', $1, $2, false, $3::jsonb, 'tests')"


@pytest.fixture
async def house(serve: Serve, sql: Any) -> Restaurant:
    """A house that takes requests as fast as one address sends them."""
    api = await serve(public_limit=10_000)
    user_id = await create_user(sql, "waiter", "staff")
    return Restaurant(api, sql, bearer(await token_of(sql, api, user_id)))


async def certain(house: Restaurant, verb: str, booking_id: int, **body: Any) -> tuple[int, str]:
    """The answer of a client that repeats while it is told that nothing was done."""
    while (answer := await house.code(verb, booking_id, **body))[0] == 503:
        await asyncio.sleep(0.05)
    return answer


@pytest.mark.parametrize("rivals", ["decline", "keep"])
async def test_of_200_overlapping_confirms_one_wins(house: Restaurant, rivals: str) -> None:
    table_id = await house.table()
    ids = [await house.asked(table_id, at(18 + n / 100), at(21 + n / 100)) for n in range(200)]
    answers = await asyncio.gather(*(certain(house, "confirm", n, rivals=rivals) for n in ids))
    assert Counter(answers) == {(200, "confirmed"): 1, (409, "table_taken"): 199}


async def test_adjacent_ones_both_win_and_with_a_buffer_only_one(house: Restaurant) -> None:
    table_id = await house.table()
    ids = [await house.asked(table_id, at(n), at(n + 1)) for n in range(10, 20)]
    answers = await asyncio.gather(*(certain(house, "confirm", n) for n in ids))
    assert Counter(answers) == {(200, "confirmed"): 10}
    await house.rules(buffer_minutes=10)
    other = await house.table()
    pair = [await house.asked(other, at(n), at(n + 1)) for n in (10, 11)]
    answers = await asyncio.gather(*(certain(house, "confirm", n) for n in pair))
    assert sorted(answers) == [(200, "confirmed"), (409, "table_taken")]


async def test_100_confirms_that_decline_each_other_do_not_deadlock(house: Restaurant) -> None:
    tables = [await house.table() for _ in range(4)]
    ids = [await house.asked(tables[n % 4], at(10 + n % 7), at(12 + n % 7)) for n in range(100)]
    answers = await asyncio.gather(*(certain(house, "confirm", n) for n in ids))
    assert {status for status, _ in answers} == {200, 409}
    assert sum(status == 200 for status, _ in answers) >= 4


async def test_verbs_against_each_other_end_in_one_state(house: Restaurant) -> None:
    table_id, other = await house.table(), await house.table()
    ends = {"confirm": "confirmed", "cancel": "cancelled", "decline": "declined"}
    for n in range(12):
        booking_id = await house.asked(table_id, at(10 + n), at(11 + n))
        body = {"table_id": other} if n % 2 else {}
        verbs = [*ends, *(["move"] if n % 2 else [])]
        answers = await asyncio.gather(
            *(
                certain(house, verb, booking_id, **(body if verb == "move" else {}))
                for verb in verbs
            )
        )
        _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
        assert booking["status"] in ("cancelled", "declined")  # a confirmed one is cancelled
        done = {code for status, code in answers if status == 200} & set(ends.values())
        assert booking["status"] in done
        assert not {"cancelled", "declined"} <= done


async def test_moves_of_two_bookings_onto_each_others_tables_do_not_deadlock(
    house: Restaurant,
) -> None:
    one, two = await house.table(), await house.table()
    first = await house.in_state(one, "confirmed", at(10), at(11))
    second = await house.in_state(two, "confirmed", at(12), at(13))
    for _ in range(10):
        answers = await asyncio.gather(
            certain(house, "move", first, table_id=two),
            certain(house, "move", second, table_id=one),
        )
        assert {status for status, _ in answers} == {200}
        await asyncio.gather(
            certain(house, "move", first, table_id=one),
            certain(house, "move", second, table_id=two),
        )


async def second_of_two(connect_as: Connect, ids: list[int]) -> str:
    """What a confirm answers that comes while a rival's has not committed."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval(CONFIRM, ids[0], False, DEFAULTS) == "ok"
    waiting = asyncio.create_task(second.fetchval(CONFIRM, ids[1], False, DEFAULTS))
    await until_waiting(first, second)
    await transaction.commit()
    return str(await waiting)


async def test_the_second_confirm_waits_and_is_told(house: Restaurant, connect_as: Connect) -> None:
    table_id = await house.table()
    ids = [await house.asked(table_id, at(19), at(21)) for _ in range(2)]
    assert await second_of_two(connect_as, ids) == "table_taken"


@pytest.mark.parametrize(
    ("starts", "buffer"), [(20, 0), (21, 30)], ids=["an overlap", "the buffer"]
)
async def test_without_the_lock_of_the_table_the_race_is_real(
    house: Restaurant,
    connect_as: Connect,
    starts: float,
    buffer: int,
    without_lock: Callable[[str, str], Awaitable[None]],
) -> None:
    """An overlap then ends at the constraint; a buffer, which no constraint can hold, slips."""
    await house.rules(buffer_minutes=buffer)
    table_id = await house.table()
    ids = [
        await house.asked(table_id, at(19), at(21)),
        await house.asked(table_id, at(starts), at(23)),
    ]
    await without_lock("bookings/lock_booking.sql", "ORDER BY t.table_id FOR NO KEY UPDATE")
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval(CONFIRM, ids[0], False, DEFAULTS) == "ok"
    racing = asyncio.create_task(second.fetchval(CONFIRM, ids[1], False, DEFAULTS))
    if buffer:
        assert await racing == "ok"  # both have it, a minute apart from each other
        await transaction.commit()
        return
    await until_waiting(first, second)
    await transaction.commit()
    with pytest.raises(asyncpg.ExclusionViolationError):
        await racing


@pytest.fixture
def without_lock(sql: Any) -> Callable[[str, str], Awaitable[None]]:
    """without_lock(file, clause): install a function of sql/ with a clause left out."""

    async def install(path: str, clause: str) -> None:
        body = (sql_files.SQL / path).read_text()
        assert body.count(clause) == 1
        await sql.execute(body.replace(clause, ""))

    return install
