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
    """(message_id, attempt) of what was leased of main's."""
    return [(each["message_id"], each["attempt"]) for each in await leased(worker, limit, lease)]


async def leased(worker: Any, limit: int = 10, lease: timedelta = LEASE, target: str = "") -> Any:
    row = await worker.fetchrow(
        "SELECT * FROM lease_messages('main', 'telegram', $1, $2, $3)", target, limit, lease
    )
    assert row["result_code"] == "ok"
    return json.loads(row["document"])


async def settle(
    worker: Any,
    message_id: int,
    attempt: int,
    outcome: str,
    *,
    error: str | None = None,
    wait: timedelta | None = None,
    reply_code: int | None = None,
) -> str:
    row = await worker.fetchrow(
        "SELECT * FROM settle_message('main', $1, $2, $3, $4, $5, $6)",
        *(message_id, attempt, outcome, reply_code, error, wait),
    )
    assert (row["document"] is not None) == (row["result_code"] == "ok")
    return str(row["result_code"])


async def split(worker: Any, message_id: int, attempt: int, payloads: str) -> str:
    query = "SELECT split_message('main', $1, $2, $3)"
    return str(await worker.fetchval(query, message_id, attempt, payloads))


async def run_out(sql: Any) -> None:
    """As if the time had come that all messages wait for."""
    await sql.execute("UPDATE outbox SET due_at = clock_timestamp() - interval '1 s'")


async def test_a_message_is_taken_once_in_order_and_delivered(sql: Any, worker: Any) -> None:
    first, second, third = await emit(sql, "a", "b", "c")
    await emit(sql, "elsewhere", store_id="other")
    assert await take(worker, limit=2) == [(first, 1), (second, 1)]
    assert await take(worker) == [(third, 1)]
    assert await take(worker) == []
    assert await settle(worker, first, 1, "delivered", reply_code=200) == "ok"
    assert await settle(worker, first, 1, "delivered") == "already_settled"
    assert await settle(worker, first, 1, "failed", error="no") == "already_settled"
    assert await sql.fetchval("SELECT reply_code FROM outbox WHERE message_id = $1", first) == 200
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
    async with asyncio.timeout(60):
        others = await take(second, limit=4)
    await transaction.commit()
    assert [message for message, _ in mine + others] == ids


async def test_a_late_worker_cannot_settle_what_another_has_taken_since(
    sql: Any, worker: Any, second: Any
) -> None:
    (message,) = await emit(sql, "a")
    assert await take(worker, lease=timedelta(0)) == [(message, 1)]
    assert await take(second) == [(message, 2)]
    for outcome in ("delivered", "skipped", "failed", "refused", "nonsense"):
        assert await settle(worker, message, 1, outcome) == "lease_lost"
        assert await settle(worker, message + 1, 1, outcome) == "unknown_message"
    assert await split(worker, message, 1, '[{"text": "b"}]') == "lease_lost"
    assert await sql.fetchval("SELECT count(*) FROM outbox") == 1
    assert await settle(second, message, 2, "delivered") == "ok"


async def test_a_lease_that_ran_out_unnoticed_is_still_good(sql: Any, worker: Any) -> None:
    (message,) = await emit(sql, "a")
    assert await take(worker, lease=timedelta(0)) == [(message, 1)]
    assert await settle(worker, message, 1, "delivered") == "ok"


@pytest.mark.parametrize("outcome", ["sent", "", None])
async def test_an_attempt_ends_as_one_of_four(sql: Any, worker: Any, outcome: Any) -> None:
    (message,) = await emit(sql, "a")
    await take(worker)
    assert await settle(worker, message, 1, outcome) == "invalid_request"
    assert await sql.fetchval("SELECT is_waiting FROM outbox")


async def test_what_nobody_needs_any_more_ends_and_is_no_dead_letter(sql: Any, worker: Any) -> None:
    (message,) = await emit(sql, "reminder")
    await take(worker)
    assert await settle(worker, message, 1, "skipped", error="it is past") == "ok"
    assert await settle(worker, message, 1, "delivered") == "already_settled"
    assert await sql.fetchval("SELECT revive_message('main', $1)", message) == "not_dead"
    await run_out(sql)
    assert await take(worker) == []
    assert await sql.fetchval("SELECT count(*) FROM dead_letters") == 0
    row = await sql.fetchrow("SELECT skipped_at IS NOT NULL, last_error FROM outbox")
    assert tuple(row) == (True, "it is past")


async def test_targets_of_a_channel_are_leased_apart(sql: Any, worker: Any) -> None:
    mine, others = await emit(sql, "mine", "others")
    await sql.execute("UPDATE outbox SET target = '17' WHERE message_id = $1", others)
    assert await take(worker) == [(mine, 1)]
    assert [each["message_id"] for each in await leased(worker, target="17")] == [others]


async def test_a_message_is_replaced_by_its_parts_in_order(sql: Any, worker: Any) -> None:
    (message,) = await emit(sql, "whole")
    await take(worker)
    parts = json.dumps([{"text": each} for each in "abc"])
    assert await split(worker, message, 1, parts) == "ok"
    assert await split(worker, message, 1, parts) == "already_settled"
    assert [each["payload"]["text"] for each in await leased(worker)] == ["a", "b", "c"]


async def pause(sql: Any, worker: Any, attempt: int, wait: timedelta | None = None) -> float:
    """Seconds until a message that failed as its attempt-th is tried again."""
    await sql.execute("UPDATE outbox SET attempts = $1", attempt - 1)
    await run_out(sql)
    ((message, taken),) = await take(worker)
    assert taken == attempt
    assert await settle(worker, message, attempt, "failed", error="no", wait=wait) == "ok"
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
    assert await settle(worker, message, 41, "refused", error="blocked", reply_code=403) == "ok"
    row = await reader.fetchrow("SELECT last_error, reply_code FROM dead_letters")
    assert tuple(row) == ("blocked", 403)


async def test_a_poison_message_that_kills_each_worker_is_given_up_too(
    sql: Any, worker: Any
) -> None:
    (message,) = await emit(sql, "poison")
    await sql.execute("UPDATE outbox SET attempts = 39")
    assert await take(worker, lease=timedelta(0)) == [(message, 40)]
    assert await take(worker) == []
    assert await sql.fetchval("SELECT message_id FROM dead_letters") == message


async def test_only_what_was_settled_long_ago_is_forgotten(sql: Any, worker: Any) -> None:
    await emit(sql, "delivered", "skipped", "dead", "waiting", "fresh")
    await sql.execute(
        "UPDATE outbox SET created_at = now() - interval '99 d',"
        " delivered_at = CASE payload ->> 'text' WHEN 'delivered' THEN now() - interval '31 d'"
        " WHEN 'fresh' THEN now() - interval '29 d' END,"
        " skipped_at = CASE payload ->> 'text' WHEN 'skipped' THEN now() - interval '31 d' END,"
        " dead_at = CASE payload ->> 'text' WHEN 'dead' THEN now() - interval '31 d' END"
    )
    assert await found(worker, "find_old_messages('30 d')") == ["main"]
    forget = "SELECT (document ->> 'done')::int FROM forget_messages('main', '30 d', 1)"
    assert [await worker.fetchval(forget) for _ in range(3)] == [1, 1, 0]
    assert await found(worker, "find_old_messages('30 d')") == []
    left = await sql.fetch("SELECT payload ->> 'text' FROM outbox ORDER BY message_id")
    assert [row[0] for row in left] == ["dead", "waiting", "fresh"]


async def test_a_message_is_an_object_for_a_channel_there_is(sql: Any, worker: Any) -> None:
    for channel, payload in (("pigeon", "{}"), ("mail", "[]"), ("mail", None)):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await sql.fetchval("SELECT emit_message('main', $1, $2)", channel, payload)


async def found(worker: Any, call: str) -> list[str]:
    """The stores that a function finds."""
    row = await worker.fetchrow(f"SELECT * FROM {call}")
    assert row["result_code"] == "ok"
    return sorted(each["store_id"] for each in json.loads(row["document"]))


async def test_due_messages_are_found_by_channel(sql: Any, worker: Any) -> None:
    by_telegram = "find_due_messages('telegram')"
    assert await found(worker, by_telegram) == []
    (message,) = await emit(sql, "a")
    await emit(sql, "b", store_id="other")
    await sql.execute("UPDATE outbox SET target = '17' WHERE store_id = 'other'")
    assert await found(worker, by_telegram) == ["main"]
    assert await found(worker, "find_due_messages('mail')") == []
    await take(worker)
    assert await found(worker, by_telegram) == []
    await run_out(sql)
    assert await found(worker, by_telegram) == ["main"]
    await settle(worker, message, 1, "delivered")
    assert await found(worker, by_telegram) == []


async def test_lapsed_holds_are_found_until_they_are_written_down(sql: Any, worker: Any) -> None:
    await sql.execute(
        "INSERT INTO products (store_id, product_id) VALUES ('main', '7');"
        "UPDATE stock SET on_hand = 5;"
        "SELECT reserve_stock('main', 'r', '7', 2, NULL, interval '1 ms');"
        "SELECT reserve_stock('main', 's', '7', 2, NULL, interval '1 h')"
    )
    await sql.fetchval("SELECT pg_sleep(0.002)")
    assert await found(worker, "find_lapsed_reservations()") == ["main"]
    assert await worker.fetchval("SELECT expired_count FROM expire_reservations('main')") == 1
    assert await found(worker, "find_lapsed_reservations()") == []
