"""Deliveries: what came of each, targets that switch themselves off, and sending once more."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.aliases import Api, Hooked

Document = dict[str, Any]


async def deliver(sql: Any, worker: Any, hook_id: int, n: int = 1) -> int:
    """The id of a delivery that has just been leased by the worker."""
    await sql.execute("SELECT emit_event('main', 'purchase.made', $1)", json.dumps({"n": n}))
    await worker.execute("SELECT split_events('main', 100)")
    (message,) = await lease(worker, hook_id)
    return int(message["message_id"])


async def lease(worker: Any, hook_id: int) -> list[Document]:
    row = await worker.fetchrow(
        "SELECT * FROM lease_messages('main', 'webhook', $1, 10, '1 min')", str(hook_id)
    )
    found: list[Document] = json.loads(row["document"])
    return found


async def settle(
    worker: Any, delivery_id: int, outcome: str, status: int | None = None, attempt: int = 1
) -> str | None:
    """Why the target is switched off by this, if it is."""
    row = await worker.fetchrow(
        "SELECT * FROM settle_delivery('main', $1, $2, $3, $4, $5, NULL)",
        *(delivery_id, attempt, outcome, status, None if outcome == "delivered" else "no"),
    )
    assert row["result_code"] == "ok"
    reason: str | None = json.loads(row["document"]).get("off_reason")
    return reason


async def hook(sql: Any, hook_id: int) -> Any:
    return await sql.fetchrow("SELECT * FROM hook_list WHERE hook_id = $1", hook_id)


async def read(worker: Any, hook_id: int, delivery_id: int) -> tuple[str, Document]:
    row = await worker.fetchrow("SELECT * FROM read_delivery('main', $1, $2)", hook_id, delivery_id)
    return row["result_code"], json.loads(row["document"] or "{}")


async def change(sql: Any, hook_id: int, **changes: Any) -> Document:
    row = await sql.fetchrow(
        "SELECT * FROM change_hook('main', $1, $2, 'tests')", hook_id, json.dumps(changes)
    )
    assert row["result_code"] == "ok"
    document: Document = json.loads(row["document"])
    return document


async def test_what_to_send_is_read_with_the_secrets_that_sign_it(
    sql: Any, worker: Any, hooked: Hooked
) -> None:
    hook_id = await hooked("https://example.org/events", secret="whsec_b25l")
    delivery_id = await deliver(sql, worker, hook_id)
    code, document = await read(worker, hook_id, delivery_id)
    assert (code, document["url"]) == ("ok", "https://example.org/events")
    assert (document["type"], document["data"]) == ("purchase.made", {"n": 1})
    assert document["secrets"] == ["whsec_b25l"]
    now = await sql.fetchval("SELECT extract(epoch FROM clock_timestamp())::bigint")
    assert abs(document["sent_at"] - now) <= 60

    rotate = "SELECT rotate_hook_secret('main', $1, 'whsec_dHdv', 'tests')"
    await sql.execute(rotate, hook_id)
    assert (await read(worker, hook_id, delivery_id))[1]["secrets"] == ["whsec_dHdv", "whsec_b25l"]
    await sql.execute("UPDATE hooks SET old_secret_until = clock_timestamp() - interval '1 s'")
    assert (await read(worker, hook_id, delivery_id))[1]["secrets"] == ["whsec_dHdv"]
    assert (await read(worker, hook_id, delivery_id + 1))[0] == "unknown_message"
    assert (await read(worker, hook_id + 1, delivery_id))[0] == "unknown_hook"


async def test_failures_begin_and_end(sql: Any, worker: Any, hooked: Hooked) -> None:
    hook_id = await hooked()
    delivery_id = await deliver(sql, worker, hook_id)
    assert await settle(worker, delivery_id, "failed", 500) is None
    began = (await hook(sql, hook_id))["failing_since"]
    assert began
    assert await settle(worker, await deliver(sql, worker, hook_id), "failed") is None
    assert (await hook(sql, hook_id))["failing_since"] == began
    assert await settle(worker, await deliver(sql, worker, hook_id), "delivered", 200) is None
    assert (await hook(sql, hook_id))["failing_since"] is None
    assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE action = 'update'") == 0


@pytest.mark.parametrize(
    ("status", "days", "reason"), [(410, 0, "gone"), (500, 3, "failing"), (500, 2.9, None)]
)
async def test_gone_or_three_days_of_failures_switch_a_target_off(
    sql: Any, worker: Any, hooked: Hooked, status: int, days: float, reason: str | None
) -> None:
    hook_id = await hooked()
    await settle(worker, await deliver(sql, worker, hook_id), "failed", 500)
    await sql.execute(
        "UPDATE hooks SET failing_since = failing_since - $1 * interval '1 day'", days
    )
    delivery_id = await deliver(sql, worker, hook_id)
    outcome = "refused" if status == 410 else "failed"
    assert await settle(worker, delivery_id, outcome, status) == reason
    row = await hook(sql, hook_id)
    assert (row["is_active"], row["off_reason"]) == (reason is None, reason)
    assert (row["off_at"] is None) == (reason is None)
    if reason:
        assert (await read(worker, hook_id, delivery_id))[0] == "hook_off"
        logged = await sql.fetchval("SELECT details FROM audit_log WHERE action = 'update'")
        assert json.loads(logged)["off_reason"] == {"to": reason}


async def test_one_success_in_three_days_keeps_a_target_on(
    sql: Any, worker: Any, hooked: Hooked
) -> None:
    hook_id = await hooked()
    for outcome, reason in (("failed", None), ("delivered", None), ("failed", None)):
        await sql.execute("UPDATE hooks SET failing_since = failing_since - interval '4 days'")
        assert await settle(worker, await deliver(sql, worker, hook_id), outcome) == reason


async def test_a_target_that_is_switched_on_again_begins_anew(
    sql: Any, worker: Any, hooked: Hooked
) -> None:
    hook_id = await hooked()
    await settle(worker, await deliver(sql, worker, hook_id), "refused", 410)
    document = await change(sql, hook_id, is_active=True)
    assert (document["is_active"], document["failing_since"]) == (True, None)
    assert (document["off_at"], document["off_reason"]) == (None, None)
    assert await settle(worker, await deliver(sql, worker, hook_id), "failed", 500) is None


async def test_who_settles_for_a_target_that_is_off_or_gone_changes_nothing_of_it(
    sql: Any, worker: Any, hooked: Hooked
) -> None:
    hook_id = await hooked()
    first, second = [await deliver(sql, worker, hook_id, n) for n in (1, 2)]
    await change(sql, hook_id, is_active=False)
    assert await settle(worker, first, "delivered", 200) is None
    row = await hook(sql, hook_id)
    assert (row["is_active"], row["off_reason"], row["failing_since"]) == (False, "staff", None)
    await sql.execute("SELECT remove_hook('main', $1, 'tests')", hook_id)
    query = "SELECT result_code FROM settle_delivery('main', $1, 1, 'delivered', 200, NULL, NULL)"
    assert await worker.fetchval(query, second) == "already_settled"


async def resend(sql: Any, hook_id: int, delivery_id: int) -> tuple[str, Document]:
    row = await sql.fetchrow(
        "SELECT * FROM resend_delivery('main', $1, $2, 'user:1')", hook_id, delivery_id
    )
    return row["result_code"], json.loads(row["document"] or "{}")


async def test_what_was_delivered_is_sent_again_as_the_same_event(
    sql: Any, worker: Any, hooked: Hooked
) -> None:
    hook_id = await hooked()
    delivery_id = await deliver(sql, worker, hook_id)
    await settle(worker, delivery_id, "delivered", 204)
    code, again = await resend(sql, hook_id, delivery_id)
    assert (code, again["status"], again["attempts"]) == ("created", "waiting", 0)
    listed = json.loads(
        await sql.fetchval("SELECT document FROM list_deliveries('main', $1, NULL, 10)", hook_id)
    )["deliveries"]
    assert [each["delivery_id"] for each in listed] == [again["delivery_id"], delivery_id]
    assert len({each["event_id"] for each in listed}) == 1
    assert (listed[1]["status"], listed[1]["reply_code"]) == ("delivered", 204)


@pytest.mark.parametrize("outcome", ["refused", "skipped", "failed"])
async def test_what_was_not_delivered_is_tried_at_once_as_it_is(
    sql: Any, worker: Any, hooked: Hooked, outcome: str
) -> None:
    hook_id = await hooked()
    delivery_id = await deliver(sql, worker, hook_id)
    await settle(worker, delivery_id, outcome, 500)
    assert await lease(worker, hook_id) == []
    code, again = await resend(sql, hook_id, delivery_id)
    assert (code, again["delivery_id"], again["status"]) == ("ok", delivery_id, "waiting")
    (message,) = await lease(worker, hook_id)
    assert (message["message_id"], message["attempt"]) == (delivery_id, 2)
    row = await sql.fetchrow("SELECT max_attempts, revived_by FROM outbox")
    assert tuple(row) == (40 if outcome == "failed" else 41, "user:1")


async def test_only_what_there_is_can_be_sent_again(sql: Any, worker: Any, hooked: Hooked) -> None:
    hook_id, other = await hooked(), await hooked(events=["stock.low"])
    delivery_id = await deliver(sql, worker, hook_id)
    assert (await resend(sql, hook_id, delivery_id + 1))[0] == "unknown_delivery"
    assert (await resend(sql, other, delivery_id))[0] == "unknown_delivery"
    assert (await resend(sql, other + 1, delivery_id))[0] == "unknown_hook"
    await change(sql, hook_id, is_active=False)
    assert (await resend(sql, hook_id, delivery_id))[0] == "hook_off"


async def test_contacts_of_a_guest_are_filled_in_when_it_is_sent(
    api: Api, sql: Any, worker: Any, hooked: Hooked
) -> None:
    hook_id = await hooked(events=["booking.requested"])
    table_id = await sql.fetchval(
        "INSERT INTO dining_tables (store_id, kind, seats, price)"
        " VALUES ('main', 'regular', 4, 100) RETURNING table_id"
    )
    starts = datetime.now(UTC) + timedelta(days=2)
    booking = {"table_id": table_id, "starts_at": starts.isoformat(), "name": "Ann"}
    response = await api.post("/api/v1/bookings", json=booking | {"email": "ann@example.org"})
    assert response.status == 201
    await worker.execute("SELECT split_events('main', 100)")
    assert not await sql.fetchval("SELECT count(*) FROM outbox WHERE payload::text LIKE '%ann@%'")
    (message,) = await lease(worker, hook_id)
    _, document = await read(worker, hook_id, message["message_id"])
    contacts = document["data"]["name"], document["data"]["email"], document["data"]["phone"]
    assert contacts == ("Ann", "ann@example.org", None)
    assert document["data"]["status"] == "pending"
    await sql.execute("UPDATE guests SET name = NULL, email = NULL, erased_at = now()")
    _, document = await read(worker, hook_id, message["message_id"])
    assert document["data"]["email"] is None
