"""Messages of the outbox: leased, delivered, tried again, given up, revived, forgotten."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Connect

LEASE = timedelta(seconds=60)


@pytest.fixture
async def worker(sql: Any, connect_as: Connect) -> Any:
    """A connection as the worker, to a database with the stores main and other."""
    await sql.execute("SELECT create_store('main'), create_store('other')")
    return await connect_as("worker")


@pytest.fixture
async def second(connect_as: Connect) -> Any:
    """Another worker."""
    return await connect_as("worker")


async def emit(sql: Any, *texts: str, store_id: str = "main") -> list[int]:
    return [
        await sql.fetchval(
            "SELECT emit_message($1, 'telegram', $2)", store_id, json.dumps({"text": each})
        )
        for each in texts
    ]


async def take(worker: Any, limit: int = 10, lease: timedelta = LEASE) -> list[tuple[int, int]]:
    """(message_id, attempt) of what was taken of main's."""
    rows = await worker.fetch(
        "SELECT * FROM take_messages('main', 'telegram', $1, $2)", limit, lease
    )
    assert {row["result_code"] for row in rows} <= {"ok"}
    return [(row["message_id"], row["attempt"]) for row in rows]


async def settle(worker: Any, verb: str, message_id: int, attempt: int, *rest: Any) -> str:
    places = "".join(f", ${number}" for number in range(3, 3 + len(rest)))
    return str(
        await worker.fetchval(
            f"SELECT result_code FROM {verb}('main', $1, $2{places})", message_id, attempt, *rest
        )
    )


async def run_out(sql: Any) -> None:
    """As if the time had come that all messages wait for."""
    await sql.execute("UPDATE outbox SET due_at = clock_timestamp() - interval '1 s'")


async def test_a_message_is_taken_once_in_order_and_delivered(sql: Any, worker: Any) -> None:
    first, second, third = await emit(sql, "a", "b", "c")
    await emit(sql, "elsewhere", store_id="other")
    assert await take(worker, limit=2) == [(first, 1), (second, 1)]
    assert await take(worker) == [(third, 1)]
    assert await take(worker) == []
    assert await settle(worker, "finish_message", first, 1) == "ok"
    assert await settle(worker, "finish_message", first, 1) == "already_delivered"
    assert await settle(worker, "retry_message", first, 1, "no", None) == "already_delivered"
    await run_out(sql)
    assert await take(worker) == [(second, 2), (third, 2)]


async def test_what_is_rolled_back_is_never_announced(sql: Any, worker: Any) -> None:
    transaction = sql.transaction()
    await transaction.start()
    await emit(sql, "no")
    assert await take(worker) == []
    await transaction.rollback()
    assert await take(worker) == []


async def test_two_workers_never_share_a_message_nor_wait_for_each_other(
    sql: Any, worker: Any, second: Any
) -> None:
    ids = await emit(sql, *"abcdef")
    transaction = worker.transaction()
    await transaction.start()
    mine = await take(worker, limit=4)
    async with asyncio.timeout(1):
        others = await take(second, limit=4)
    await transaction.commit()
    assert [message for message, _ in mine + others] == ids


async def test_a_late_worker_cannot_settle_what_another_has_taken_since(
    sql: Any, worker: Any, second: Any
) -> None:
    (message,) = await emit(sql, "a")
    assert await take(worker, lease=timedelta(0)) == [(message, 1)]
    assert await take(second) == [(message, 2)]
    for verb, rest in (
        ("finish_message", ()),
        ("split_message", ('[{"text": "b"}]',)),
        ("retry_message", ("late", None)),
        ("bury_message", ("late",)),
    ):
        assert await settle(worker, verb, message, 1, *rest) == "lease_lost"
        assert await settle(worker, verb, message + 1, 1, *rest) == "unknown_message"
    assert await sql.fetchval("SELECT count(*) FROM outbox") == 1
    assert await settle(second, "finish_message", message, 2) == "ok"


async def test_a_lease_that_ran_out_unnoticed_is_still_good(sql: Any, worker: Any) -> None:
    (message,) = await emit(sql, "a")
    assert await take(worker, lease=timedelta(0)) == [(message, 1)]
    assert await settle(worker, "finish_message", message, 1) == "ok"


async def test_a_message_is_replaced_by_its_parts_in_order(sql: Any, worker: Any) -> None:
    (message,) = await emit(sql, "whole")
    await take(worker)
    parts = json.dumps([{"text": each} for each in "abc"])
    assert await settle(worker, "split_message", message, 1, parts) == "ok"
    assert await settle(worker, "split_message", message, 1, parts) == "already_delivered"
    rows = await worker.fetch("SELECT * FROM take_messages('main', 'telegram', 9, '1 min')")
    assert [json.loads(row["payload"])["text"] for row in rows] == ["a", "b", "c"]


async def pause(sql: Any, worker: Any, attempt: int, wait: timedelta | None = None) -> float:
    """Seconds until a message that failed as its attempt-th is tried again."""
    await sql.execute("UPDATE outbox SET attempts = $1", attempt - 1)
    await run_out(sql)
    ((message, taken),) = await take(worker)
    assert taken == attempt
    assert await settle(worker, "retry_message", message, attempt, "no", wait) == "ok"
    return float(
        await sql.fetchval("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM outbox")
    )


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 5), (2, 10), (4, 40), (10, 2560), (11, 3600), (39, 3600)]
)
async def test_pauses_double_up_to_an_hour_with_jitter(
    sql: Any, worker: Any, attempt: int, seconds: float
) -> None:
    await emit(sql, "a")
    pauses = [await pause(sql, worker, attempt) for _ in range(8)]
    assert all(0.75 * seconds - 1 <= each <= 1.25 * seconds for each in pauses)
    assert max(pauses) - min(pauses) > seconds / 100


async def test_a_wish_to_wait_is_honoured_where_it_is_longer(sql: Any, worker: Any) -> None:
    await emit(sql, "a")
    assert 998 < await pause(sql, worker, 1, timedelta(seconds=1000)) <= 1000
    assert await pause(sql, worker, 10, timedelta(seconds=1)) > 1900


async def test_the_last_attempt_ends_as_a_dead_letter_that_can_be_revived(
    sql: Any, worker: Any, connect_as: Connect
) -> None:
    (message,) = await emit(sql, "secret")
    assert await sql.fetchval("SELECT revive_message('main', $1)", message) == "not_dead"
    await pause(sql, worker, 40)
    await run_out(sql)
    assert await take(worker) == []

    reader = await connect_as("reader")
    (dead,) = await reader.fetch("SELECT * FROM dead_letters")
    assert (dead["message_id"], dead["attempts"], dead["last_error"]) == (message, 40, "no")
    assert "secret" not in repr(dead)

    assert await sql.fetchval("SELECT revive_message('main', $1)", message) == "ok"
    assert await sql.fetchval("SELECT revive_message('main', $1)", message + 1) == "unknown_message"
    assert await reader.fetch("SELECT * FROM dead_letters") == []
    row = await sql.fetchrow(
        "SELECT revived_by = session_user, revived_at, max_attempts FROM outbox"
    )
    assert (row[0], row[1] is not None, row[2]) == (True, True, 80)
    assert await take(worker) == [(message, 41)]
    assert await settle(worker, "bury_message", message, 41, "blocked") == "ok"
    assert await reader.fetchval("SELECT last_error FROM dead_letters") == "blocked"


async def test_what_kills_its_worker_each_time_is_given_up_too(sql: Any, worker: Any) -> None:
    (message,) = await emit(sql, "poison")
    await sql.execute("UPDATE outbox SET attempts = 39")
    assert await take(worker, lease=timedelta(0)) == [(message, 40)]
    assert await take(worker) == []
    assert await sql.fetchval("SELECT message_id FROM dead_letters") == message


async def test_only_what_was_delivered_long_ago_is_forgotten(sql: Any, worker: Any) -> None:
    await emit(sql, "delivered", "dead", "waiting", "fresh")
    await sql.execute(
        "UPDATE outbox SET created_at = now() - interval '99 d',"
        " delivered_at = CASE payload ->> 'text' WHEN 'delivered' THEN now() - interval '31 d'"
        " WHEN 'fresh' THEN now() - interval '29 d' END,"
        " dead_at = CASE payload ->> 'text' WHEN 'dead' THEN now() - interval '31 d' END"
    )
    clean = "SELECT deleted_count FROM clean_outbox('main', '30 d')"
    assert [await worker.fetchval(clean) for _ in range(2)] == [1, 0]
    left = await sql.fetch("SELECT payload ->> 'text' FROM outbox ORDER BY message_id")
    assert [row[0] for row in left] == ["dead", "waiting", "fresh"]


async def test_a_message_is_an_object_for_a_channel_there_is(sql: Any, worker: Any) -> None:
    for channel, payload in (("pigeon", "{}"), ("mail", "[]"), ("mail", None)):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await sql.fetchval("SELECT emit_message('main', $1, $2)", channel, payload)


@pytest.fixture
async def find(worker: Any) -> Any:
    """find(): what find_work finds, as {store: (channels, lapsed, schedule, old)}."""

    async def find_work(
        channels: tuple[str, ...] = ("telegram",), schedule: str | None = None
    ) -> Any:
        rows = await worker.fetch(
            "SELECT * FROM find_work($1, $2, '0 21 * * *', 'UTC', '30 d')", channels, schedule
        )
        return {row["store_id"]: tuple(row)[3:] for row in rows}

    return find_work


async def test_work_is_found_where_there_is_some(sql: Any, worker: Any, find: Any) -> None:
    assert await find() == {}
    (message,) = await emit(sql, "a")
    assert await find() == {"main": (["telegram"], False, False, False)}
    assert await find(channels=("mail",)) == {}
    await take(worker)
    assert await find() == {}
    await settle(worker, "finish_message", message, 1)
    await sql.execute("UPDATE outbox SET delivered_at = now() - interval '31 d'")
    assert await find() == {"main": ([], False, False, True)}
    assert set(await find(schedule="daily_report")) == {"main", "other"}


async def test_lapsed_holds_are_found_until_they_are_written_down(
    sql: Any, worker: Any, find: Any
) -> None:
    await sql.execute(
        "INSERT INTO products (store_id, product_id) VALUES ('main', '7');"
        "UPDATE stock SET on_hand = 5;"
        "SELECT reserve_stock('main', 'r', '7', 2, NULL, interval '1 ms');"
        "SELECT reserve_stock('main', 's', '7', 2, NULL, interval '1 h')"
    )
    await sql.fetchval("SELECT pg_sleep(0.002)")
    assert await find() == {"main": ([], True, False, False)}
    assert await worker.fetchval("SELECT expired_count FROM expire_reservations('main')") == 1
    assert await find() == {}
