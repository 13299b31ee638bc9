"""Idempotency-Key: once, and the same answer to the letter."""

import asyncio
import json
from collections import Counter
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Api, Connect, Stocked
from tests.support.waits import NOTHING_DONE, becomes

MAIN = "/api/v1/stores/main"
SUPPLY = {"operation": "supply", "item_id": "a", "quantity": 5}


async def send(
    api: Api, key: str, body: object = SUPPLY, path: str = MAIN
) -> tuple[int, bytes, str]:
    response = await api.post(path, json=body, headers={"Idempotency-Key": key})
    text = await response.read()
    code = (await response.json()).get("code", "")
    return response.status, text, code


async def on_hand(sql: Any) -> int:
    return int(await sql.fetchval("SELECT on_hand FROM stock WHERE product_id = 'a'"))


async def test_a_repeat_is_answered_to_the_letter_and_does_nothing(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    first = await send(api, "k1")
    await send(api, "k2")
    assert first[0] == 200
    assert await send(api, "k1") == first, "though there is more now"
    assert await on_hand(sql) == 11


async def test_without_a_key_each_request_counts(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"a": 1})
    for _ in range(2):
        assert (await api.post(MAIN, json=SUPPLY)).status == 200
    assert await on_hand(sql) == 11


async def test_the_same_key_with_another_request_is_422(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    await send(api, "k")
    status, _, code = await send(api, "k", SUPPLY | {"quantity": 6})
    assert (status, code) == (422, "idempotency_key_reused")
    assert await on_hand(sql) == 6


async def test_a_key_belongs_to_one_route_and_one_store(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    await stocked({"a": 1}, store_id="other")
    assert (await send(api, "k"))[0] == 200
    assert (await send(api, "k", None, MAIN + "/clean"))[0] == 200
    assert (await send(api, "k", path="/api/v1/stores/other"))[0] == 200
    rows = await sql.fetch("SELECT route FROM idempotency_keys ORDER BY store_id, route")
    change, clean = "POST /stores/{store_id}", "POST /stores/{store_id}/clean"
    assert [row["route"] for row in rows] == [change, clean, change]


async def test_a_refusal_leaves_no_trace(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"a": 1})
    demand = SUPPLY | {"operation": "demand"}
    assert (await send(api, "k", demand))[0] == 409
    assert (await send(api, "k", {"operation": "demand"}))[0] == 422
    assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    await api.post(MAIN, json=SUPPLY)
    assert (await send(api, "k", demand))[0] == 200
    assert await on_hand(sql) == 1


async def sent_until_done(api: Api, key: str) -> tuple[int, bytes, str]:
    """The answer, after those that say that nothing was done, or that a twin is under way."""
    while True:
        answer = await send(api, key)
        if answer[2] not in (*NOTHING_DONE, "request_in_progress"):
            return answer
        await asyncio.sleep(0.05)


async def test_a_twin_hears_at_once_that_the_first_is_under_way(
    api: Api, stocked: Stocked, connect_as: Connect, sql: Any
) -> None:
    await stocked({"a": 1})
    blocker = await connect_as("owner", is_patient=True)

    async def is_told_so() -> bool:
        status, _, code = await send(api, "k")
        return (status, code) == (409, "request_in_progress")

    async with blocker.transaction():
        await blocker.execute("SELECT FROM stock FOR UPDATE")
        first = asyncio.create_task(sent_until_done(api, "k"))
        await becomes(is_told_so)
    assert (await first)[0] == 200
    assert await on_hand(sql) == 6


async def test_a_connection_lost_within_is_told_and_the_repeat_is_safe(
    api: Api, stocked: Stocked, connect_as: Connect, sql: Any, dsn: str
) -> None:
    await stocked({"a": 1})
    blocker, admin = await connect_as("owner", is_patient=True), await asyncpg.connect(dsn)
    kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE NOT granted"

    async def is_lost() -> bool:
        first = asyncio.create_task(send(api, "k"))
        while not first.done() and not await admin.fetchval(kill):
            await asyncio.sleep(0.01)
        status, _, code = await first
        assert status == 503
        return code == "outcome_unknown"

    async with blocker.transaction():
        await blocker.execute("SELECT FROM stock FOR UPDATE")
        await becomes(is_lost)
    await admin.close()
    assert (await sent_until_done(api, "k"))[0] == 200
    assert await on_hand(sql) == 6


async def test_100_twins_have_one_effect(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"a": 1})

    async def twin() -> tuple[int, bytes, str]:
        while (answer := await send(api, "k"))[2] in NOTHING_DONE:
            await asyncio.sleep(0.05)
        return answer

    answers = await asyncio.gather(*(twin() for _ in range(100)))
    codes = Counter((status, code) for status, _, code in answers)
    assert codes.keys() <= {(200, ""), (409, "request_in_progress")}
    bodies = {text for status, text, _ in answers if status == 200}
    assert len(bodies) == 1
    assert await on_hand(sql) == 6


async def test_after_30_days_a_key_is_free_and_can_be_forgotten(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    await send(api, "old")
    await send(api, "older")
    age = "UPDATE idempotency_keys SET created_at = created_at - interval '30 days'"
    await sql.execute(age)
    assert (await send(api, "old", SUPPLY | {"quantity": 7}))[0] == 200
    found = "SELECT document FROM find_old_answers()"
    assert json.loads(await sql.fetchval(found)) == [{"store_id": "main"}]
    forget = "SELECT (document ->> 'done')::int FROM forget_answers('main', 1000)"
    assert await sql.fetchval(forget) == 1
    assert json.loads(await sql.fetchval(found)) == []
    keys = await sql.fetch("SELECT idempotency_key FROM idempotency_keys")
    assert [row["idempotency_key"] for row in keys] == ["old"]
    assert await on_hand(sql) == 18


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ"])
async def test_a_wrong_key_is_422(api: Api, stocked: Stocked, key: str) -> None:
    await stocked({"a": 1})
    response = await api.post(MAIN, json=SUPPLY, headers={"Idempotency-Key": key})
    assert response.status == 422
    assert (await response.json())["errors"][0]["field"] == "Idempotency-Key"


async def test_two_keys_are_422(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"a": 1})
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await api.post(MAIN, json=SUPPLY, headers=headers)).status == 422
    assert await on_hand(sql) == 1


async def test_a_hold_without_an_id_is_made_once_per_key(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 5})
    hold = {"lines": [{"product_id": "a", "quantity": 2}]}
    first = await send(api, "k", hold, "/api/v1/reservations")
    again = await send(api, "k", hold, "/api/v1/reservations")
    assert first[0] == 201
    assert again == first
    assert await sql.fetchval("SELECT reserved FROM stock") == 2
