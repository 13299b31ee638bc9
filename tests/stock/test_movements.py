"""The resumable history: positions without gap or repeat, whatever the order of commits."""

import asyncio
from typing import Any

from tests.support.aliases import Api, Connect, Stocked

PATH = "/api/v1/stores/main/movements"


async def read(api: Api, after: int, limit: int = 100) -> tuple[list[dict[str, Any]], int]:
    response = await api.get(f"{PATH}?after={after}&limit={limit}")
    assert response.status == 200
    body = await response.json()
    return body["movements"], body["next"]


async def test_movements_tell_what_happened(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 5})
    body = {"operation": "demand", "item_id": "a", "quantity": 2}
    await api.post("/api/v1/stores/main", json=body, headers={"X-Request-ID": "r-1"})
    movements, after = await read(api, 0)
    assert after == 2
    assert movements[1].pop("created_at").endswith("Z")
    assert movements[1] == {
        "position": 2,
        "item_id": "a",
        "delta": -2,
        "quantity_after": 3,
        "reason": "demand",
        "reference": "r-1",
        "actor": "anonymous",
    }
    assert await read(api, 2) == ([], 2), "an empty page says where to go on, later"


async def test_pages_follow_one_another(api: Api, stocked: Stocked) -> None:
    await stocked({f"p{n}": 1 for n in range(7)})
    seen, after = [], 0
    for size in (3, 3, 1, 0):
        page, after = await read(api, after, limit=3)
        assert len(page) == size
        seen += [row["position"] for row in page]
    assert seen == list(range(1, 8))


async def test_a_row_committed_late_is_not_skipped(
    api: Api, stocked: Stocked, connect_as: Connect
) -> None:
    """Its movement_id is smaller than that of a row that was read before."""
    await stocked({"a": 1, "b": 1})
    _, after = await read(api, 0)
    slow, quick = await connect_as("owner"), await connect_as("owner")
    transaction = slow.transaction()
    await transaction.start()
    await slow.execute("UPDATE stock SET on_hand = 10 WHERE product_id = 'a'")
    await quick.execute("UPDATE stock SET on_hand = 20 WHERE product_id = 'b'")
    first, after = await read(api, after)
    await transaction.commit()
    second, _ = await read(api, after)
    assert [row["quantity_after"] for row in first + second] == [20, 10]


async def test_a_reader_during_heavy_writing_misses_and_repeats_nothing(
    api: Api, stocked: Stocked, connect_as: Connect, sql: Any
) -> None:
    products = [f"p{n}" for n in range(8)]
    await stocked(dict.fromkeys(products, 1))
    writers = [await connect_as("owner") for _ in products]
    is_writing = True

    async def write(connection: Any, product: str) -> None:
        for n in range(40):
            async with connection.transaction():
                await connection.execute(
                    "UPDATE stock SET on_hand = on_hand + 1 WHERE product_id = $1", product
                )
                await connection.execute("SELECT pg_sleep($1)", n % 3 / 1000)

    async def follow(name: int) -> list[tuple[int, str, int]]:
        seen: list[tuple[int, str, int]] = []
        after = 0
        while True:
            is_last = not is_writing
            page, after = await read(api, after, limit=17 + name)
            seen += [(row["position"], row["item_id"], row["quantity_after"]) for row in page]
            if is_last and not page:
                return seen

    readers = [asyncio.create_task(follow(n)) for n in range(3)]
    await asyncio.gather(*map(write, writers, products))
    is_writing = False
    histories = await asyncio.gather(*readers)
    assert histories[0] == histories[1] == histories[2]
    assert [position for position, _, _ in histories[0]] == list(range(1, 8 * 41 + 1))
    for product in products:
        after = [quantity for _, item, quantity in histories[0] if item == product]
        assert after == list(range(1, 42)), "each product's history is in its order"
    assert await sql.fetchval("SELECT count(*) FROM stock_movements") == 8 * 41


async def test_wrong_cursors_are_422(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 1})
    for query in ("after=-1", "after=x", f"after={2**63}", "limit=0", "limit=1001", "more=1"):
        assert (await api.get(f"{PATH}?{query}")).status == 422, query
