"""Events: what webhooks are told of, written with the change that they tell of."""

import json
import re
from typing import Any

import asyncpg
import pytest


@pytest.fixture(autouse=True)
async def main(sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")


async def emitted(sql: Any) -> list[tuple[str, str, Any]]:
    """(channel, type, data) of each message, in order."""
    rows = await sql.fetch("SELECT channel, payload FROM outbox ORDER BY message_id")
    return [
        (row["channel"], payload["type"], payload["data"])
        for row in rows
        if (payload := json.loads(row["payload"]))
    ]


async def test_an_event_is_one_message_to_the_webhooks(sql: Any) -> None:
    await sql.execute("SELECT emit_event('main', 'stock.low', '{\"product_id\": \"7\"}')")
    assert await emitted(sql) == [("webhook", "stock.low", {"product_id": "7"})]


async def test_events_keep_their_order_and_have_an_id_each(sql: Any) -> None:
    data = [json.dumps({"n": number}) for number in range(20)]
    await sql.execute("SELECT emit_events('main', 'reservation.expired', $1::jsonb[])", data)
    await sql.execute("SELECT emit_events('main', 'reservation.expired', '{}')")
    assert [each["n"] for _, _, each in await emitted(sql)] == list(range(20))
    ids = await sql.fetch("SELECT payload ->> 'id' AS id FROM outbox")
    assert len({row["id"] for row in ids}) == 20
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", row["id"]) for row in ids)


@pytest.mark.parametrize("kind", ["stock.gone", "", None])
async def test_an_event_of_a_type_that_there_is_not_is_a_defect(sql: Any, kind: Any) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await sql.execute("SELECT emit_event('main', $1, '{}')", kind)
    assert await emitted(sql) == []
