"""Categories over HTTP and in SQL: a tree that stays one, whoever moves what at once."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from service.database import sql_files
from tests.support.aliases import Api, Connect, NewUser, Stocked
from tests.support.waits import until_waiting

SignedIn = Callable[..., dict[str, str]]
Answer = tuple[int, dict[str, Any]]
URL = "/api/v1"
TREE = {"food": None, "drinks": "food", "hot": "drinks", "tea": "hot", "tools": None}


class Catalog:
    """Requests of an admin."""

    def __init__(self, api: Api, headers: dict[str, str]) -> None:
        self.api, self.headers = api, headers

    async def send(self, method: str, path: str, **how: Any) -> Answer:
        response = await self.api.request(method, URL + path, headers=self.headers, **how)
        return response.status, await response.json()

    async def add(self, category_id: str, parent_id: str | None = None) -> Answer:
        content = {"category_id": category_id, "name": category_id.title(), "parent_id": parent_id}
        return await self.send("POST", "/categories", json=content)

    async def code(self, method: str, path: str, **how: Any) -> tuple[int, str]:
        status, answer = await self.send(method, path, **how)
        return status, answer.get("code", "ok")

    async def move(self, category_id: str, parent_id: str | None) -> tuple[int, str]:
        body = {"parent_id": parent_id}
        return await self.code("PATCH", f"/categories/{category_id}", json=body)


@pytest.fixture
async def catalog(api: Api, signed_in: SignedIn, new_user: NewUser, stocked: Stocked) -> Catalog:
    """A store with a tree of categories, and its admin."""
    made = Catalog(api, signed_in(await new_user("boss", role="admin"), "admin"))
    await stocked({"7": 5})
    for category_id, parent_id in TREE.items():
        assert (await made.add(category_id, parent_id))[0] == 201
    return made


async def test_the_list_has_parents_and_counts_what_is_right_below(catalog: Catalog) -> None:
    async with catalog.api.get(f"{URL}/categories") as response:  # as anybody
        page = await response.json()
    assert page["next"] is None
    listed = {each["category_id"]: each for each in page["categories"]}
    assert {key: each["parent_id"] for key, each in listed.items()} == TREE
    counts = {key: each["child_count"] for key, each in listed.items()}
    assert counts == {"food": 1, "drinks": 1, "hot": 1, "tea": 0, "tools": 0}
    _, first = await catalog.send("GET", "/categories?limit=2")
    assert [each["category_id"] for each in first["categories"]] == ["drinks", "food"]
    _, second = await catalog.send("GET", f"/categories?limit=2&after={first['next']}")
    assert [each["category_id"] for each in second["categories"]] == ["hot", "tea"]
    assert await catalog.code("GET", "/stores/nowhere/categories") == (404, "unknown_store")


async def test_a_category_has_its_path_from_the_first_level(catalog: Catalog) -> None:
    _, tea = await catalog.send("GET", "/categories/tea")
    assert [each["category_id"] for each in tea["path"]] == ["food", "drinks", "hot", "tea"]
    assert tea["path"][0]["name"] == "Food"
    assert await catalog.code("GET", "/categories/ghost") == (404, "unknown_category")


async def test_creating_again_replays_and_otherwise_is_refused(catalog: Catalog) -> None:
    assert (await catalog.add("tea", "hot"))[0] == 200
    assert (await catalog.add("tea", "tools"))[1]["code"] == "category_id_reused"
    status, refusal = await catalog.add("new", "ghost")
    assert (status, refusal["code"], refusal["category_id"]) == (404, "unknown_category", "ghost")


async def test_a_move_takes_along_what_is_below_and_absent_stays(catalog: Catalog) -> None:
    assert await catalog.move("drinks", None) == (200, "ok")
    _, tea = await catalog.send("GET", "/categories/tea")
    assert [each["category_id"] for each in tea["path"]] == ["drinks", "hot", "tea"]
    _, renamed = await catalog.send("PATCH", "/categories/hot", json={"name": "Warm"})
    assert (renamed["name"], renamed["parent_id"]) == ("Warm", "drinks")
    assert await catalog.move("hot", "ghost") == (404, "unknown_category")
    assert await catalog.move("ghost", None) == (404, "unknown_category")


@pytest.mark.parametrize("parent_id", ["food", "drinks", "tea"])
async def test_a_circle_is_refused(catalog: Catalog, sql: Any, parent_id: str) -> None:
    assert await catalog.move("food", parent_id) == (409, "category_circle")
    with pytest.raises(asyncpg.CheckViolationError):
        await sql.execute(
            "UPDATE categories SET parent_id = $1 WHERE category_id = 'food'", parent_id
        )


async def test_two_moves_that_would_close_a_circle_together_do_not(catalog: Catalog) -> None:
    for number in range(10):
        one, two = f"one{number}", f"two{number}"
        await catalog.add(one)
        await catalog.add(two)
        answers = await asyncio.gather(catalog.move(one, two), catalog.move(two, one))
        assert sorted(answers) == [(200, "ok"), (409, "category_circle")]


MOVE = "UPDATE categories SET parent_id = $2 WHERE category_id = $1"


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read"])
async def test_two_updates_by_hand_cannot_close_a_circle(
    catalog: Catalog, connect_as: Connect, sql: Any, isolation: Any
) -> None:
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transactions = [each.transaction(isolation=isolation) for each in (first, second)]
    for transaction in transactions:
        await transaction.start()
    await second.fetch("SELECT FROM categories")  # from here on it sees the past
    await first.execute(MOVE, "food", "tools")
    waiting = asyncio.create_task(second.execute(MOVE, "tools", "tea"))
    await until_waiting(first, second)
    await transactions[0].commit()
    with pytest.raises((asyncpg.CheckViolationError, asyncpg.SerializationError)):
        await waiting
    await transactions[1].rollback()
    assert (
        await sql.fetchval("SELECT parent_id FROM categories WHERE category_id = 'tools'") is None
    )


async def test_without_the_trees_lock_two_moves_close_a_circle(
    catalog: Catalog, connect_as: Connect, sql: Any
) -> None:
    body = (sql_files.SQL / "catalog/refuse_circle.sql").read_text()
    for clause in ("PERFORM lock_categories(NEW.store_id);", " FOR SHARE"):
        body = body.replace(clause, "")
    await sql.execute(body)
    first = await connect_as("owner")
    transaction = first.transaction()
    await transaction.start()
    await first.execute(MOVE, "food", "tools")
    await sql.execute(MOVE, "tools", "tea")
    await transaction.commit()
    await sql.execute("ALTER TABLE categories DISABLE TRIGGER no_circles")
    await sql.execute(MOVE, "food", None)


async def test_a_category_with_something_in_it_stays(catalog: Catalog) -> None:
    status, refusal = await catalog.send("DELETE", "/categories/hot")
    assert (status, refusal["code"], refusal["child_count"]) == (409, "category_not_empty", 1)
    body = {"name": "Green", "price": 3, "category_id": "tea"}
    assert await catalog.code("PUT", "/products/7", json=body) == (200, "ok")
    assert await catalog.code("DELETE", "/categories/tea") == (409, "category_not_empty")
    assert await catalog.code("PUT", "/products/7", json=body | {"category_id": None}) == (
        200,
        "ok",
    )
    assert await catalog.code("DELETE", "/categories/tea") == (200, "ok")
    assert await catalog.code("DELETE", "/categories/tea") == (404, "unknown_category")


async def test_a_product_keeps_its_category_until_it_is_set_or_cleared(catalog: Catalog) -> None:
    product = {"product_id": "oolong", "name": "Oolong", "price": 9, "category_id": "tea"}
    assert (await catalog.send("POST", "/products", json=product))[1]["category_id"] == "tea"
    assert (await catalog.send("POST", "/products", json=product))[0] == 200
    other = product | {"category_id": "hot"}
    assert await catalog.code("POST", "/products", json=other) == (409, "product_id_reused")
    change: dict[str, Any] = {"name": "Oolong", "price": 10}
    for more, expected in (
        ({}, "tea"),
        ({"category_id": "hot"}, "hot"),
        ({"category_id": None}, None),
    ):
        status, answer = await catalog.send("PUT", "/products/oolong", json=change | more)
        assert (status, answer["category_id"]) == (200, expected)
    status, refusal = await catalog.send(
        "PUT", "/products/oolong", json=change | {"category_id": "ghost"}
    )
    assert (status, refusal["code"], refusal["category_id"]) == (404, "unknown_category", "ghost")
    ghost = product | {"product_id": "x", "category_id": "ghost"}
    assert await catalog.code("POST", "/products", json=ghost) == (404, "unknown_category")


async def test_a_removal_waits_for_a_product_that_is_being_put_in(
    catalog: Catalog, connect_as: Connect
) -> None:
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    await first.execute("UPDATE products SET category_id = 'tools' WHERE product_id = '7'")
    call = "SELECT result_code FROM remove_category('main', 'tools', NULL)"
    waiting = asyncio.create_task(second.fetchval(call))
    await until_waiting(first, second)
    await transaction.commit()
    assert await waiting == "category_not_empty"


async def test_changes_are_audited_with_their_caller(catalog: Catalog, sql: Any) -> None:
    await catalog.move("hot", "tools")
    rows = await sql.fetch(
        "SELECT action, actor FROM audit_log WHERE subject = 'categories/hot' ORDER BY entry_id"
    )
    assert [row["action"] for row in rows] == ["insert", "update"]
    assert all(row["actor"].startswith("user:") for row in rows)


async def test_only_admins_change_the_tree(catalog: Catalog, signed_in: SignedIn) -> None:
    for method, path in (("POST", ""), ("PATCH", "/food"), ("DELETE", "/tea")):
        async with catalog.api.request(method, f"{URL}/categories{path}", json={}) as response:
            assert response.status == 401
