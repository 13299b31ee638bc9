"""move_stock_batch: many supplies and demands at once are answered as if one by one."""

import asyncio
import json
import random
from typing import Any, NamedTuple

import asyncpg
import pytest

from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import reserve, stock
from tests.support.waits import until_waiting

BATCH = (
    "SELECT a.* FROM move_stock_batch($1, $2, $3, $4, $5, $6, $7) AS b,"
    " unnest(b.result_codes, b.documents) AS a (result_code, document)"
)
LEDGER = (
    "SELECT product_id, delta, on_hand_after, reason, reference, actor FROM stock_movements"
    " WHERE store_id = $1 AND reason IN ('supply', 'demand') ORDER BY product_id, number"
)


class Operation(NamedTuple):
    operation: str
    lines: list[tuple[str, int]]
    reference: str = ""


async def move(
    connection: Any, *operations: Operation, store_id: str = "main", as_lines: bool = True
) -> list[tuple[str, Any]]:
    """The code and the document of each operation."""
    lines = [(n, *line) for n, each in enumerate(operations, 1) for line in each.lines]
    rows = await connection.fetch(
        BATCH,
        store_id,
        [each.operation for each in operations],
        [each.reference or None for each in operations],
        [f"user:{number}" for number in range(1, len(operations) + 1)],
        [number for number, _, _ in lines] if as_lines else None,
        [product for _, product, _ in lines],
        [quantity for _, _, quantity in lines],
    )
    return [(row["result_code"], json.loads(row["document"] or "null")) for row in rows]


def supply(product: str, quantity: int, reference: str = "") -> Operation:
    return Operation("supply", [(product, quantity)], reference)


def demand(product: str, quantity: int, reference: str = "") -> Operation:
    return Operation("demand", [(product, quantity)], reference)


async def codes(connection: Any, *operations: Operation, **more: Any) -> list[str]:
    return [code for code, _ in await move(connection, *operations, **more)]


async def test_each_is_answered_as_it_left_the_stock_and_has_its_row_in_the_ledger(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5})
    await reserve(sql, ("1", [("a", 2)]))
    answers = await move(
        sql, demand("a", 4, "r1"), demand("a", 3, "r2"), supply("a", 3, "r3"), as_lines=False
    )
    item = {"item_id": "a", "quantity": 4, "available": 3}
    assert answers[0] == ("insufficient_stock", {**item, "items": [item]})
    left = [document["store"]["report"] for _, document in answers[1:]]
    assert left == [
        [{"item_id": "a", "quantity": 2, "reserved": 2, "available": 0}],
        [{"item_id": "a", "quantity": 5, "reserved": 2, "available": 3}],
    ]
    assert [tuple(row) for row in await sql.fetch(LEDGER, "main")] == [
        ("a", -3, 2, "demand", "r2", "user:2"),
        ("a", 3, 5, "supply", "r3", "user:3"),
    ]


async def test_a_product_is_unknown_until_its_first_supply(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    assert await codes(sql, demand("new", 1), supply("new", 2), demand("new", 2)) == [
        *("unknown_product", "ok", "ok")
    ]
    assert await codes(sql, demand("other", 1), demand("a", 1)) == ["unknown_product", "ok"]
    assert await stock(sql) == {"a": (4, 0), "new": (0, 0)}


async def test_what_is_invalid_creates_nothing_and_stops_nobody(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    bad = [supply("b", 0), Operation("steal", [("b", 1)]), Operation("supply", [("b", 1)] * 1001)]
    assert await codes(sql, *bad, demand("a", 5)) == [*["invalid_request"] * 3, "ok"]
    assert await stock(sql) == {"a": (0, 0)}
    assert await codes(sql, supply("a", 1), store_id="nowhere") == ["unknown_store"]
    assert await move(sql) == []


async def test_a_sum_too_large_for_a_bigint_fails_for_its_caller_alone(
    api: Api, sql: Any, stocked: Stocked
) -> None:
    await stocked({"full": 2**63 - 2, "a": 5})

    async def post(item: str) -> int:
        body = {"operation": "supply", "item_id": item, "quantity": 2}
        return (await api.post("/api/v1/stores/main", json=body)).status

    assert await asyncio.gather(*map(post, ["a", "full", "a", "full", "b"])) == [
        *(200, 422, 200, 422, 200)
    ]
    assert await stock(sql) == {"a": (9, 0), "b": (2, 0), "full": (2**63 - 2, 0)}


async def test_random_batches_are_answered_as_one_by_one(sql: Any) -> None:
    chance = random.Random(13)
    for number in range(60):
        store_id = f"s{number}"
        await sql.execute("SELECT create_store($1)", store_id)
        await judge_random_batches(sql, store_id, chance)
    assert await sql.fetch("SELECT * FROM invariant_violations") == []


async def judge_random_batches(sql: Any, store_id: str, chance: random.Random) -> None:
    on_hand: dict[str, int] = {}
    ledger = []
    for _ in range(5):
        batch = [
            Operation(
                chance.choice(["supply", "demand"]),
                [
                    (chance.choice(["a", "B", "ä"]), chance.randint(1, 6))
                    for _ in range(chance.choice([1, 1, 2, 3]))
                ],
                f"r{n}",
            )
            for n in range(chance.randint(1, 12))
        ]
        answers = await move(sql, *batch, store_id=store_id)
        for number, (each, (code, document)) in enumerate(zip(batch, answers, strict=True), 1):
            units = {product: 0 for product, _ in each.lines}
            for product, quantity in each.lines:
                units[product] += quantity if each.operation == "supply" else -quantity
            assert code == expected_code(on_hand, units), (batch, answers)
            if code != "ok":
                continue
            for product, delta in sorted(units.items()):
                on_hand[product] = on_hand.get(product, 0) + delta
                actor = f"user:{number}"
                ledger.append(
                    (product, delta, on_hand[product], each.operation, each.reference, actor)
                )
            report = [(row["item_id"], row["quantity"]) for row in document["store"]["report"]]
            assert report == [(product, on_hand[product]) for product in sorted(units)]
    found = await stock(sql, store_id)
    assert {product: level[0] for product, level in found.items()} == on_hand
    rows = [tuple(row) for row in await sql.fetch(LEDGER, store_id)]
    assert rows == sorted(ledger, key=lambda row: row[0])


def expected_code(on_hand: dict[str, int], units: dict[str, int]) -> str:
    if any(delta < 0 and product not in on_hand for product, delta in units.items()):
        return "unknown_product"
    if any(on_hand.get(product, 0) + delta < 0 for product, delta in units.items()):
        return "insufficient_stock"
    return "ok"


async def test_batches_of_opposite_order_wait_and_never_deadlock(
    connect_as: Connect, stocked: Stocked
) -> None:
    await stocked({"a": 1000, "b": 1000})
    sessions = [await connect_as("owner", is_patient=True) for _ in range(2)]
    orders = ([demand("a", 1), demand("b", 1)], [demand("b", 1), demand("a", 1)])

    async def repeat(session: Any, operations: list[Operation]) -> set[str]:
        return {code for _ in range(50) for code in await codes(session, *operations)}

    assert await asyncio.gather(*map(repeat, sessions, orders)) == [{"ok"}, {"ok"}]


async def two_demands(connect_as: Connect) -> list[str]:
    """What a batch is answered that comes while another has not committed the last unit."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    async with first.transaction():
        assert await codes(first, demand("a", 1)) == ["ok"]
        waiting = asyncio.create_task(codes(second, demand("a", 1), supply("a", 1)))
        await until_waiting(first, second)
    return await waiting


async def test_the_second_batch_waits_and_is_told(connect_as: Connect, stocked: Stocked) -> None:
    await stocked({"a": 1})
    assert await two_demands(connect_as) == ["insufficient_stock", "ok"]


async def test_without_the_lock_the_second_batch_decides_on_stale_stock(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    """Shows that the race above is real: then only the CHECK constraint stops it."""
    await stocked({"a": 1})
    unlocked = await sql.fetchval("SELECT pg_get_functiondef('lock_stock'::regproc)")
    assert " FOR UPDATE" in unlocked
    await sql.execute(unlocked.replace(" FOR UPDATE", ""))
    with pytest.raises(asyncpg.CheckViolationError):
        await two_demands(connect_as)


@pytest.mark.parametrize(
    "told",
    [
        [{"product_id": "a", "delta": 1}],
        [{"product_id": "a", "delta": 1}, {"product_id": "b", "delta": 1}],
        [{"product_id": "b", "delta": 2}],
        [],
    ],
)
async def test_movements_that_do_not_add_up_to_the_change_are_refused(
    sql: Any, stocked: Stocked, told: list[Any]
) -> None:
    await stocked({"a": 5, "b": 5})
    await sql.execute("SET holdfast.bulk = 'on'")
    await sql.execute("SELECT set_config('holdfast.movements', $1, false)", json.dumps(told))
    with pytest.raises(asyncpg.SerializationError, match="do not add up"):
        await sql.execute("UPDATE stock SET on_hand = on_hand + 2 WHERE product_id = 'a'")
