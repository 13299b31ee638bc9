"""What a statement that changes stock announces: which items, once per store."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.aliases import Stocked

Heard = Callable[[], Awaitable[list[str]]]


async def test_an_update_announces_the_items_it_changed(
    stocked: Stocked, sql: Any, heard: Heard
) -> None:
    await stocked({"1": 5, "2": 5, "3": 5})
    await heard()
    await sql.execute("UPDATE stock SET on_hand = 7 WHERE product_id IN ('1', '3')")
    assert [sorted(json.loads(each)) for each in await heard()] == [["1", "3", "main"]]
    await sql.execute("SELECT reserve_stock('main', 'r', '2', 1)")
    assert await heard() == ['["main","2"]']


async def test_what_changes_nothing_announces_nothing(
    stocked: Stocked, sql: Any, heard: Heard
) -> None:
    await stocked({"1": 5, "2": 0})
    await heard()
    await sql.execute("UPDATE stock SET on_hand = on_hand, reserved = reserved")
    await sql.execute("UPDATE stock SET on_hand = 9 WHERE product_id = 'none'")
    await stocked({"3": 0})
    await sql.execute("DELETE FROM stock WHERE product_id = '3'")
    await sql.execute("DELETE FROM products WHERE product_id = '3'")
    async with sql.transaction():
        await sql.execute("UPDATE stock SET on_hand = 6 WHERE product_id = '1'")
        await sql.execute("SELECT reserve_stock('main', 'r', '1', 7)")
    assert await heard() == ['["main","1"]']
    rolled_back = sql.transaction()
    await rolled_back.start()
    await sql.execute("UPDATE stock SET on_hand = 7 WHERE product_id = '1'")
    await rolled_back.rollback()
    assert await heard() == []


async def test_rows_that_come_and_go_are_announced(
    stocked: Stocked, sql: Any, heard: Heard
) -> None:
    await stocked({"1": 5, "2": 0})
    await heard()
    await sql.execute("DELETE FROM stock WHERE product_id = '1'")
    assert await heard() == ['["main","1"]']
    await sql.execute("INSERT INTO stock (store_id, product_id, on_hand) VALUES ('main', '1', 3)")
    assert await heard() == ['["main","1"]']


async def test_each_store_is_announced_once(stocked: Stocked, sql: Any, heard: Heard) -> None:
    await stocked({"1": 5, "2": 5}, "north")
    await stocked({"1": 5, "2": 5}, "south")
    await heard()
    await sql.execute("UPDATE stock SET on_hand = on_hand + 1")
    assert sorted(sorted(json.loads(each)) for each in await heard()) == [
        ["1", "2", "north"],
        ["1", "2", "south"],
    ]


@pytest.mark.parametrize(
    ("count", "width", "is_named"),
    [(1000, 4, True), (1200, 4, False), (5000, 4, False), (30, 64, True), (50, 64, False)],
)
async def test_too_many_items_to_name_are_the_whole_store(
    stocked: Stocked, sql: Any, heard: Heard, count: int, width: int, is_named: bool
) -> None:
    item = "0" if width < 64 else "€"
    store_id = '"' * 64
    await stocked({f"{n}".rjust(width, item): 5 for n in range(count)}, store_id)
    await heard()
    await sql.execute("UPDATE stock SET on_hand = on_hand + 1")
    (payload,) = await heard()
    assert len(payload.encode()) < 8000
    named, *item_ids = json.loads(payload)
    assert named == store_id
    assert len(item_ids) == (count if is_named else 0)


async def test_ids_arrive_as_they_are(stocked: Stocked, sql: Any, heard: Heard) -> None:
    ids = ['"', "\\", "'", "{}", "%s", "ё", "🙂", "a,b", "[]"]
    await stocked(dict.fromkeys(ids, 5))
    await heard()
    await sql.execute("UPDATE stock SET on_hand = on_hand + 1")
    (payload,) = await heard()
    assert sorted(json.loads(payload)[1:]) == sorted(ids)
