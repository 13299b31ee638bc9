"""Products over HTTP: what the public sees, what admins may change."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.support.aliases import Api, Connect, NewUser, Stocked
from tests.support.waits import until_waiting

SignedIn = Callable[..., dict[str, str]]

PRODUCTS = "/api/v1/products"
MILK = {
    "product_id": "milk",
    "name": "Oat milk",
    "price": 250,
    "is_active": True,
    "category_id": None,
    "low_at": None,
}


@pytest.fixture
async def admin(signed_in: SignedIn, new_user: NewUser) -> dict[str, str]:
    return signed_in(await new_user("boss", role="admin"), "admin")


async def ids(api: Api, query: str = "", **headers: Any) -> list[str]:
    body = await (await api.get(PRODUCTS + query, **headers)).json()
    return [product["product_id"] for product in body["products"]]


async def code(response: Any) -> tuple[int, str]:
    return response.status, (await response.json()).get("code", "ok")


async def test_a_created_product_is_offered_with_nothing_available(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({})
    response = await api.post(PRODUCTS, json=MILK, headers=admin)
    assert response.status == 201
    assert await response.json() == MILK | {"available": 0}
    public = await api.get(f"{PRODUCTS}/milk")
    assert (public.status, await public.json()) == (200, MILK | {"available": 0})


async def test_creating_again_replays_and_otherwise_is_refused(
    api: Api, admin: dict[str, str], stocked: Stocked, sql: Any
) -> None:
    await stocked({})
    first = await api.post(PRODUCTS, json=MILK, headers=admin)
    again = await api.post(PRODUCTS, json=MILK, headers=admin)
    assert (first.status, again.status) == (201, 200)
    assert await first.read() == await again.read()
    for change in ({"name": "Milk"}, {"price": 251}, {"is_active": False}):
        response = await api.post(PRODUCTS, json=MILK | change, headers=admin)
        assert await code(response) == (409, "product_id_reused")
    assert await sql.fetchval("SELECT array_agg(price) FROM products") == [250]


async def test_twins_create_one_product(
    api: Api, admin: dict[str, str], stocked: Stocked, sql: Any
) -> None:
    await stocked({})
    answers = await asyncio.gather(
        *(api.post(PRODUCTS, json=MILK, headers=admin) for _ in range(15))
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 200: 14}
    assert await sql.fetchval("SELECT count(*) FROM stock") == 1


async def test_a_changed_product_has_its_new_name_and_price(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({"7": 5})
    body = {"name": "Soap", "price": 9223372036854775807}
    for _ in range(2):
        response = await api.put(f"{PRODUCTS}/7", json=body, headers=admin)
        assert response.status == 200
        assert await response.json() == body | {
            "product_id": "7",
            "is_active": True,
            "available": 5,
            "category_id": None,
            "low_at": None,
        }


async def test_where_a_product_is_low_is_kept_set_and_cleared(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({"7": 5})
    body = {"name": "Soap", "price": 1}
    for change, low_at in (({"low_at": 3}, 3), ({}, 3), ({"low_at": None}, None), ({}, None)):
        response = await api.put(f"{PRODUCTS}/7", json=body | change, headers=admin)
        assert (response.status, (await response.json())["low_at"]) == (200, low_at)
    for wrong in (-1, 1.5, "3", True, 9223372036854775808):
        response = await api.put(f"{PRODUCTS}/7", json=body | {"low_at": wrong}, headers=admin)
        assert await code(response) == (422, "invalid_body")
    response = await api.post(PRODUCTS, json=MILK | {"low_at": 0}, headers=admin)
    assert (response.status, (await response.json())["low_at"]) == (201, 0)


async def test_a_product_without_a_price_is_shown_as_such(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({"7": 5})
    assert (await (await api.get(f"{PRODUCTS}/7")).json())["price"] is None
    unpriced = MILK | {"price": None}
    for status in (201, 200):
        response = await api.post(PRODUCTS, json=unpriced, headers=admin)
        assert (response.status, await response.json()) == (status, unpriced | {"available": 0})
    response = await api.post(PRODUCTS, json=MILK | {"price": 0}, headers=admin)
    assert await code(response) == (409, "product_id_reused")


async def test_a_price_is_set_to_nothing_on_purpose_and_taken_away(
    api: Api, admin: dict[str, str], stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    for price in (0, None, 250, 0, 0):
        body = {"name": "Soap", "price": price}
        response = await api.put(f"{PRODUCTS}/7", json=body, headers=admin)
        assert (response.status, (await response.json())["price"]) == (200, price)
    changes = "SELECT count(*) FROM audit_log WHERE subject = 'products/7' AND details ? 'price'"
    assert await sql.fetchval(changes) == 4


async def test_what_supply_creates_has_no_price(api: Api, stocked: Stocked) -> None:
    await stocked({})
    supply = {"operation": "supply", "item_id": "new", "quantity": 3}
    assert (await api.post("/api/v1/stores/main", json=supply)).status == 200
    body = await (await api.get(f"{PRODUCTS}/new")).json()
    assert (body["price"], body["available"]) == (None, 3)


async def test_available_is_what_the_next_can_have(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 5})
    await sql.fetch("SELECT * FROM reserve_stock('main', '1', '7', 2)")
    await sql.fetch("SELECT * FROM reserve_stock('main', '2', '7', 2, NULL, '1 microsecond')")
    assert (await (await api.get(f"{PRODUCTS}/7")).json())["available"] == 3


async def test_a_product_without_history_is_removed(
    api: Api, admin: dict[str, str], stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 0})
    response = await api.delete(f"{PRODUCTS}/7", headers=admin)
    assert (response.status, await response.json()) == (
        200,
        {"product_id": "7", "is_removed": True},
    )
    assert await sql.fetchval("SELECT count(*) FROM products") == 0
    response = await api.delete(f"{PRODUCTS}/7", headers=admin)
    assert await code(response) == (404, "unknown_product")


HISTORIES = {
    "stocked": "UPDATE stock SET on_hand = 1",
    "emptied again": "UPDATE stock SET on_hand = 1; UPDATE stock SET on_hand = 0",
    "held": "UPDATE stock SET on_hand = 1; SELECT reserve_stock('main', '1', '7', 1)",
}


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
async def test_a_product_with_a_history_is_only_offered_no_more(
    api: Api, admin: dict[str, str], stocked: Stocked, sql: Any, history: str
) -> None:
    await stocked({"7": 0})
    await sql.execute(history)
    for _ in range(2):
        response = await api.delete(f"{PRODUCTS}/7", headers=admin)
        assert response.status == 200
        assert await response.json() == {"product_id": "7", "is_removed": False}
    assert await code(await api.get(f"{PRODUCTS}/7")) == (404, "unknown_product")
    assert await ids(api) == []
    assert await ids(api, headers=admin) == ["7"]
    found = await (await api.get(f"{PRODUCTS}/7", headers=admin)).json()
    assert found["is_active"] is False

    body = {"name": "Back", "price": 1, "is_active": True}
    assert (await api.put(f"{PRODUCTS}/7", json=body, headers=admin)).status == 200
    assert await ids(api) == ["7"]


async def test_who_reserves_while_it_is_removed_gets_nothing_of_it(
    connect_as: Connect, stocked: Stocked
) -> None:
    """What is removed has no units, so nobody need wait to be refused."""
    await stocked({"7": 0})
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    removal = await first.fetchrow("SELECT * FROM remove_product('main', '7', NULL)")
    assert removal["result_code"] == "ok"
    reserve = "SELECT result_code FROM reserve_stock('main', '1', '7', 1)"
    assert await second.fetchval(reserve) == "insufficient_stock"
    await transaction.commit()
    assert await second.fetchval(reserve) == "unknown_product"


async def removed_while_stocked(connect_as: Connect) -> str:
    """What is answered to a removal that comes while the first units arrive."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    transaction = first.transaction()
    await transaction.start()
    await first.execute("UPDATE stock SET on_hand = 1")
    remove = "SELECT document FROM remove_product('main', '7', NULL)"
    waiting = asyncio.create_task(second.fetchval(remove))
    await until_waiting(first, second)
    await transaction.commit()
    return str(await waiting)


async def test_who_removes_while_it_is_stocked_waits_and_keeps_it(
    connect_as: Connect, stocked: Stocked
) -> None:
    await stocked({"7": 0})
    assert '"is_removed": false' in await removed_while_stocked(connect_as)


async def test_without_the_lock_a_product_just_stocked_would_be_taken_for_unused(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    """Shows that the race above is real: then only the ledger's foreign key stops it."""
    await stocked({"7": 0})
    await sql.execute(
        "CREATE OR REPLACE FUNCTION lock_stock(p_store_id text, p_product_ids text[])"
        " RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS 'BEGIN END'"
    )
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await removed_while_stocked(connect_as)


async def test_lists_are_paged_and_searched(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked(dict.fromkeys(["a1", "a2", "B1", "b2"], 0))
    await sql.execute("UPDATE products SET name = 'Large 100%_x' WHERE product_id = 'a2'")
    assert await ids(api) == ["B1", "a1", "a2", "b2"]
    page = await (await api.get(f"{PRODUCTS}?limit=2")).json()
    assert page["next"] == "a1"
    page = await (await api.get(f"{PRODUCTS}?limit=2&after={page['next']}")).json()
    assert [product["product_id"] for product in page["products"]] == ["a2", "b2"]
    last = await (await api.get(f"{PRODUCTS}?limit=2&after=b2")).json()
    assert last == {"products": [], "next": None}
    assert await ids(api, "?q=LARGE") == ["a2"]
    assert await ids(api, "?q=%25_") == ["a2"]
    assert await ids(api, "?q=b") == ["B1", "b2"]
    assert await ids(api, "?q=PRODUCT&after=a1") == ["b2"]
    assert await ids(api, "?q=none") == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "", MILK),
        ("PUT", "/7", {"name": "", "price": 0}),
        ("DELETE", "/7", None),
    ],
)
@pytest.mark.parametrize("role", ["", "customer", "staff"])
async def test_only_admins_write(
    api: Api,
    signed_in: SignedIn,
    new_user: NewUser,
    stocked: Stocked,
    sql: Any,
    method: str,
    path: str,
    body: Any,
    role: str,
) -> None:
    await stocked({"7": 0})
    headers = signed_in(await new_user("ann", role=role), role) if role else {}
    response = await api.request(method, PRODUCTS + path, json=body, headers=headers)
    assert response.status == (403 if role else 401)
    assert await sql.fetchval("SELECT array_agg(name) FROM products") == ["Product 7"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"price": -1}, "price"),
        ({"price": msgspec.UNSET}, "price"),
        ({"price": 1.5}, "price"),
        ({"price": "1"}, "price"),
        ({"price": True}, "price"),
        ({"price": 9223372036854775808}, "price"),
        ({"product_id": "a:b"}, "product_id"),
        ({"product_id": ""}, "product_id"),
        ({"product_id": "a\n"}, "product_id"),
        ({"product_id": 7}, "product_id"),
        ({"name": "x" * 1001}, "name"),
        ({"name": "nul\0"}, ""),
        ({"is_active": "yes"}, "is_active"),
        ({"color": "red"}, "color"),
    ],
)
async def test_wrong_fields_are_422(
    api: Api, admin: dict[str, str], sql: Any, stocked: Stocked, body: dict[str, Any], field: str
) -> None:
    await stocked({})
    product = {name: value for name, value in (MILK | body).items() if value is not msgspec.UNSET}
    response = await api.post(PRODUCTS, json=product, headers=admin)
    assert await code(response) == (422, "invalid_body")
    assert [error["field"] for error in (await response.json())["errors"]] == [field]
    assert await sql.fetchval("SELECT count(*) FROM products") == 0


async def test_a_repeated_key_is_malformed(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({"7": 0})
    for body in ('{"name": "a", "price": 1, "price": 1}', '{"name": "", "name": "", "price": 1}'):
        headers = admin | {"Content-Type": "application/json"}
        response = await api.put(f"{PRODUCTS}/7", data=body, headers=headers)
        assert await code(response) == (400, "malformed_json")


@pytest.mark.parametrize("path", ["?limit=0", "?limit=1001", "?limit=x", "?q=%00", "?page=1"])
async def test_a_wrong_query_is_422(api: Api, path: str) -> None:
    assert await code(await api.get(PRODUCTS + path)) == (422, "invalid_query")


async def test_credentials_that_are_no_good_do_not_hide_what_is_public(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({"7": 1})
    assert await ids(api, headers={"Authorization": "Bearer old"}) == ["7"]
    await stocked({"8": 1}, store_id="other")
    response = await api.get("/api/v1/stores/other/products", headers=admin)
    assert response.status == 200, "an admin elsewhere is a guest here"


async def test_unknown_stores_and_products_are_404(
    api: Api, admin: dict[str, str], stocked: Stocked
) -> None:
    await stocked({})
    change = {"name": "", "price": 0}
    nowhere = "/api/v1/stores/nowhere/products"
    for method, body in (("GET", None), ("PUT", change), ("DELETE", None)):
        response = await api.request(method, f"{PRODUCTS}/7", json=body, headers=admin)
        assert await code(response) == (404, "unknown_product")
    for path in (nowhere, nowhere + "/7"):
        assert await code(await api.get(path)) == (404, "unknown_store")
    response = await api.post(nowhere, json=MILK, headers=admin)
    assert await code(response) == (404, "not_found"), "an admin elsewhere is nobody here"


NONSENSE = [
    None,
    "null",
    "[]",
    '{"name": null}',
    '{"name": 1}',
    '{"price": -1}',
    '{"price": 1.0}',
    '{"price": 1.5}',
    '{"price": "1"}',
    '{"price": 9223372036854775808}',
    '{"price": 99999999999999999999}',
    '{"price": {}}',
    '{"is_active": null}',
    '{"is_active": "true"}',
    '{"product_id": "9"}',
    '{"created_at": "2026-01-01Z"}',
]


@pytest.mark.parametrize("fields", NONSENSE)
async def test_the_functions_refuse_nonsense_themselves(
    sql: Any, stocked: Stocked, fields: str | None
) -> None:
    await stocked({"7": 0})
    before = await sql.fetch("SELECT * FROM products")
    for call in ("add_product('main', '8', $1, NULL)", "update_product('main', '7', $1, NULL)"):
        assert await sql.fetchval(f"SELECT result_code FROM {call}", fields) == "invalid_request"
    for call in (
        "add_product('main', NULL, '{}', NULL)",
        "update_product('main', NULL, '{}', NULL)",
    ):
        assert await sql.fetchval(f"SELECT result_code FROM {call}") == "invalid_request"
    assert await sql.fetch("SELECT * FROM products") == before


async def test_in_psql_one_field_can_be_set_and_the_others_stay(sql: Any, stocked: Stocked) -> None:
    await stocked({"7": 5})
    update = (
        "SELECT document::jsonb - '{available,category_id,low_at}'::text[]"
        " FROM update_product('main', '7', $1, 'dba')"
    )
    for fields, expected in (
        ('{"price": 250}', '{"name": "Product 7", "price": 250, "is_active": true}'),
        ('{"name": "Tea"}', '{"name": "Tea", "price": 250, "is_active": true}'),
        ('{"is_active": false}', '{"name": "Tea", "price": 250, "is_active": false}'),
        ("{}", '{"name": "Tea", "price": 250, "is_active": false}'),
        ('{"price": null}', '{"name": "Tea", "price": null, "is_active": false}'),
    ):
        found = json.loads(await sql.fetchval(update, fields))
        assert found == json.loads(expected) | {"product_id": "7"}
    assert await sql.fetchval("SELECT count(*) FROM audit_log WHERE actor = 'dba'") == 4
    add = "SELECT result_code FROM add_product('main', '8', '{}', 'dba')"
    assert [await sql.fetchval(add) for _ in range(2)] == ["created", "already_created"]
