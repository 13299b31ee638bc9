"""held_products: whose rows another transaction holds."""

import json
from typing import Any

from tests.support.aliases import Connect, Stocked


async def held(connection: Any, *product_ids: str, store_id: str = "main") -> list[str]:
    row = await connection.fetchrow(
        "SELECT * FROM held_products($1, $2)", store_id, list(product_ids)
    )
    assert row["result_code"] == "ok"
    return sorted(json.loads(row["document"]))


async def test_products_are_held_while_another_transaction_has_locked_or_changed_them(
    stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"a": 1, "b": 1, "c": 1, "d": 1})
    service, other = await connect_as("service"), await connect_as("owner")
    assert await held(service, "a", "b", "c", "d") == []
    transaction = other.transaction()
    await transaction.start()
    await other.execute("SELECT FROM stock WHERE product_id = 'a' FOR UPDATE")
    await other.execute("UPDATE stock SET on_hand = 2 WHERE product_id = 'b'")
    await other.execute("SELECT FROM stock WHERE product_id = 'c' FOR KEY SHARE")
    assert await held(service, "d", "c", "b", "a", "a") == ["a", "a", "b"]
    assert await held(service, "d") == []
    await transaction.rollback()
    assert await held(service, "a", "b", "c", "d") == []


async def test_what_is_not_there_is_not_held(stocked: Stocked, connect_as: Connect) -> None:
    await stocked({"a": 1})
    service = await connect_as("service")
    assert await held(service, "x") == []
    assert await held(service, "a", store_id="elsewhere") == []
    assert await held(service) == []
