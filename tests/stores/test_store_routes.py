"""Stores: created, renamed, listed by whoever may see them."""

from typing import Any

import pytest

from tests.support.aliases import Api, NewUser, Serve
from tests.support.builders import SECRET, bearer, create_key, create_user, token_of

STORES = "/api/v1/stores"


async def listed(api: Api, query: str = "", **headers: str) -> tuple[list[str], Any]:
    response = await api.get(STORES + query, headers=headers)
    assert response.status == 200, await response.text()
    body = await response.json()
    return [store["store_id"] for store in body["stores"]], body["next"]


async def named(sql: Any) -> dict[str, str]:
    return dict(await sql.fetch("SELECT store_id, name FROM stores"))


@pytest.fixture
async def house(serve: Serve, sql: Any) -> Api:
    """The service in production, with the stores main, north and south."""
    for store_id in ("main", "north", "south"):
        await sql.execute("SELECT create_store($1)", store_id)
    return await serve(environment="production", jwt_secret=SECRET)


async def authorization(sql: Any, api: Api, role: str, store_id: str) -> dict[str, str]:
    user_id = await create_user(sql, f"{role}-{store_id}", role, store_id)
    return bearer(await token_of(sql, api, user_id))


async def test_a_store_is_created_then_renamed(api: Api, sql: Any) -> None:
    for status, name in [(201, "Old"), (200, "New"), (200, "New")]:
        response = await api.put(STORES + "/north", json={"name": name})
        assert response.status == status
        assert await response.json() == {"store": {"store_id": "north", "name": name}}
    assert await named(sql) == {"north": "New"}
    assert (await api.put(STORES + "/a:b", json={"name": ""})).status == 422


async def test_without_a_name_a_store_keeps_the_one_it_has(api: Api, sql: Any) -> None:
    assert (await api.put(STORES + "/north", json={})).status == 201
    await api.put(STORES + "/north", json={"name": "North"})
    response = await api.put(STORES + "/north", json={})
    assert response.status == 200
    assert (await response.json())["store"]["name"] == "North"
    assert (await api.put(STORES + "/north", json={"name": ""})).status == 200
    assert await named(sql) == {"north": ""}
    assert (await api.put(STORES + "/north", json={"name": None})).status == 422


async def test_the_log_says_who_made_and_who_renamed_a_store(house: Api, sql: Any) -> None:
    main = await authorization(sql, house, "admin", "main")
    before = await sql.fetchval("SELECT max(entry_id) FROM audit_log")
    await house.put(STORES + "/west", json={"name": "West"}, headers=main)
    await house.put(STORES + "/west", json={"name": "Far west"}, headers=main)
    await house.put(STORES + "/west", json={}, headers=main)
    rows = await sql.fetch(
        "SELECT subject, action, details -> 'name', actor FROM audit_log"
        " WHERE entry_id > $1 ORDER BY entry_id",
        before,
    )
    user = await sql.fetchval("SELECT 'user:' || user_id FROM users WHERE role = 'admin'")
    assert [tuple(row) for row in rows] == [
        ("stores/west", "insert", '{"to": "West"}', user),
        ("stores/west", "update", '{"to": "Far west", "from": "West"}', user),
    ]


async def test_stores_are_listed_page_by_page(api: Api, sql: Any) -> None:
    for store_id in ("c", "a", "b"):
        await sql.execute("SELECT create_store($1, 'Shop ' || $1)", store_id)
    assert await listed(api, "?limit=2") == (["a", "b"], "b")
    assert await listed(api, "?limit=2&after=b") == (["c"], None)
    assert await listed(api, "?limit=3") == (["a", "b", "c"], None)
    body = await (await api.get(STORES)).json()
    assert body["stores"][0].pop("created_at").endswith("Z")
    assert body["stores"][0] == {"store_id": "a", "name": "Shop a"}
    assert (await api.get(STORES + "?limit=0")).status == 422


@pytest.mark.parametrize(
    ("role", "store_id", "seen"),
    [
        ("admin", "main", ["main", "north", "south"]),
        ("staff", "main", ["main"]),
        ("admin", "north", ["north"]),
        ("staff", "north", ["north"]),
    ],
)
async def test_who_sees_which_stores(
    house: Api, sql: Any, role: str, store_id: str, seen: list[str]
) -> None:
    headers = await authorization(sql, house, role, store_id)
    assert await listed(house, **headers) == (seen, None)


async def test_customers_and_strangers_list_nothing(house: Api, sql: Any) -> None:
    headers = await authorization(sql, house, "customer", "main")
    assert (await house.get(STORES, headers=headers)).status == 403
    assert (await house.get(STORES)).status == 401


async def test_an_admin_of_the_default_store_alone_creates_and_renames_others(
    house: Api, sql: Any
) -> None:
    main = await authorization(sql, house, "admin", "main")
    north = await authorization(sql, house, "admin", "north")
    assert (await house.put(STORES + "/west", json={}, headers=main)).status == 201
    assert (await house.put(STORES + "/north", json={"name": "N"}, headers=main)).status == 200
    assert (await house.put(STORES + "/north", json={"name": "Own"}, headers=north)).status == 200
    for foreign in ("main", "east"):
        response = await house.put(f"{STORES}/{foreign}", json={"name": "x"}, headers=north)
        assert response.status == 404
    staff = await authorization(sql, house, "staff", "main")
    assert (await house.put(STORES + "/east", json={}, headers=staff)).status == 403
    assert await named(sql) == {"main": "", "north": "Own", "south": "", "west": ""}


@pytest.mark.parametrize(
    ("store_id", "scopes", "seen"),
    [
        ("north", None, ["north"]),
        ("main", ["stock"], ["main"]),
        ("main", ["admin", "stock"], ["main", "north", "south"]),
        ("north", ["admin", "stock"], ["north"]),
    ],
)
async def test_a_key_sees_its_own_store_or_as_an_admin_of_the_default_store_all(
    house: Api, sql: Any, store_id: str, scopes: list[str] | None, seen: list[str]
) -> None:
    key = await create_key(sql, store_id, scopes=scopes)
    assert await listed(house, **bearer(key)) == (seen, None)


async def test_stores_of_others_stay_unseen(house: Api, sql: Any, new_user: NewUser) -> None:
    headers = await authorization(sql, house, "admin", "main")
    assert (await house.get(STORES + "/north", headers=headers)).status == 404
