"""Events are split by the targets that exist then: one transaction, however often it is tried."""

import asyncio
import json
from typing import Any

from tests.support.aliases import Connect, Hooked


async def tell(
    sql: Any, *numbers: int, kind: str = "purchase.made", store_id: str = "main"
) -> None:
    data = [json.dumps({"n": number}) for number in numbers]
    await sql.execute("SELECT emit_events($1, $2, $3::jsonb[])", store_id, kind, data)


async def split(worker: Any, limit: int = 100, store_id: str = "main") -> int:
    row = await worker.fetchrow("SELECT * FROM split_events($1, $2)", store_id, limit)
    assert row["result_code"] == "ok"
    return int(json.loads(row["document"])["done"])


async def waiting(sql: Any) -> list[tuple[int, str, int]]:
    """(target, type, n) of each message to a target, in order."""
    rows = await sql.fetch(
        "SELECT target, payload FROM outbox WHERE target <> '' ORDER BY message_id"
    )
    found = [(int(row["target"]), json.loads(row["payload"])) for row in rows]
    return [(hook_id, payload["type"], payload["data"]["n"]) for hook_id, payload in found]


async def test_each_target_is_told_of_what_it_wants(sql: Any, worker: Any, hooked: Hooked) -> None:
    everything = await hooked()
    sales = await hooked(events=["purchase.made", "order.paid"])
    await hooked(events=["stock.low"], store_id="other")
    await tell(sql, 1, 2)
    await tell(sql, 3, kind="stock.low")
    assert await split(worker) == 3
    assert await waiting(sql) == [
        (everything, "purchase.made", 1),
        (sales, "purchase.made", 1),
        (everything, "purchase.made", 2),
        (sales, "purchase.made", 2),
        (everything, "stock.low", 3),
    ]
    assert await sql.fetchval("SELECT count(*) FROM outbox WHERE target = ''") == 0
    assert await split(worker) == 0


async def test_the_copies_of_an_event_have_its_id_and_its_time(
    sql: Any, worker: Any, hooked: Hooked
) -> None:
    await hooked()
    await hooked()
    await tell(sql, 1)
    event_id, at = await sql.fetchrow("SELECT payload ->> 'id', rfc3339(created_at) FROM outbox")
    await split(worker)
    rows = await sql.fetch("SELECT payload FROM outbox")
    payloads = [json.loads(row["payload"]) for row in rows]
    expected = {"id": event_id, "type": "purchase.made", "timestamp": at, "data": {"n": 1}}
    assert payloads == [expected, expected]


async def test_an_event_that_nobody_wants_is_done(sql: Any, worker: Any, hooked: Hooked) -> None:
    await hooked(events=["stock.low"])
    off = await hooked()
    await sql.execute("SELECT change_hook('main', $1, '{\"is_active\": false}', 'tests')", off)
    await tell(sql, 1)
    assert await split(worker) == 1
    assert await sql.fetchval("SELECT count(*) FROM outbox") == 0


async def test_events_are_found_where_they_wait(sql: Any, worker: Any, hooked: Hooked) -> None:
    found = "SELECT document FROM find_due_messages('webhook')"
    targets = "SELECT document FROM find_due_deliveries()"
    hook_id = await hooked()
    assert json.loads(await worker.fetchval(found)) == []
    await tell(sql, 1)
    await tell(sql, 2, store_id="other")
    stores = {each["store_id"] for each in json.loads(await worker.fetchval(found))}
    assert stores == {"main", "other"}
    assert json.loads(await worker.fetchval(targets)) == []
    assert [await split(worker), await split(worker, store_id="other")] == [1, 1]
    assert json.loads(await worker.fetchval(found)) == []
    expected = [{"store_id": "main", "target": str(hook_id)}]
    assert json.loads(await worker.fetchval(targets)) == expected


async def test_two_workers_split_each_event_once(
    sql: Any, worker: Any, hooked: Hooked, connect_as: Connect
) -> None:
    hook_id = await hooked()
    await tell(sql, *range(100))
    second = await connect_as("worker")
    transaction = worker.transaction()
    await transaction.start()
    assert await split(worker, limit=60) == 60
    async with asyncio.timeout(30):
        assert await split(second) == 40
    await transaction.commit()
    assert sorted(await waiting(sql)) == [(hook_id, "purchase.made", n) for n in range(100)]


async def test_a_target_that_is_being_removed_gets_nothing_that_would_wait_for_ever(
    sql: Any, worker: Any, hooked: Hooked, connect_as: Connect
) -> None:
    hook_id = await hooked()
    await tell(sql, 1)
    owner = await connect_as("owner")
    transaction = worker.transaction()
    await transaction.start()
    assert await split(worker) == 1
    removal = asyncio.create_task(
        owner.fetchval("SELECT document FROM remove_hook('main', $1, 'tests')", hook_id)
    )
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    async with asyncio.timeout(30):
        while not await sql.fetchval(blocked):
            await asyncio.sleep(0.01)
    await transaction.commit()
    assert json.loads(await removal) == {"hook_id": hook_id, "skipped": 1}
    assert not await sql.fetchval("SELECT is_waiting FROM outbox")
