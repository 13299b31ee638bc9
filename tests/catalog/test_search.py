"""GET /api/v1/products?q=: no search reads the whole catalog, nor takes the pool from others."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiohttp import ClientResponse

from service.database.migrate import upgrade_in_thread
from service.domains.catalog import SEARCHES_AT_ONCE
from tests import plpgsql_coverage
from tests.support.aliases import Api, NewUser
from tests.support.databases import copied_database
from tests.support.servers import with_database
from tests.support.waits import becomes

SignedIn = Callable[..., dict[str, str]]

PRODUCTS = "/api/v1/products"
MOST = 10_000
"""Products that a call looks at, one after another."""
MANY = 45_000
"""Products of the store, of which the last two are unlike the others."""
NEEDLE, IGOLKA = f"p{MANY}", f"p{MANY - 1}"

CATALOG = f"""
INSERT INTO products (store_id, product_id, name)
SELECT 'main', 'p' || to_char(n, 'FM00000'), 'Oat milk, ' || CASE n
    WHEN {MANY} THEN 'a Needle (50%)' WHEN {MANY} - 1 THEN 'иголка' ELSE n::text END
FROM generate_series(1, {MANY}) AS n
"""
READ = """
SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'products'
"""
LIST = "SELECT document::text FROM list_products('main', $1, false, $2, 100)"
WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'products'::regclass AND NOT granted"


@pytest.fixture(scope="module")
async def dsn(cluster: str, template: str) -> AsyncIterator[str]:
    """URL of one database for all tests here: each leaves the products as they are."""
    async with copied_database(cluster, template) as url:
        admin = await asyncpg.connect(cluster)
        await plpgsql_coverage.watch(admin, urlsplit(url).path[1:])
        await admin.close()
        owner = await asyncpg.connect(url, server_settings={"search_path": "holdfast"})
        await owner.execute("SELECT create_store('main')")
        await owner.execute(CATALOG)
        await owner.execute("VACUUM")
        yield url
        assert await owner.fetch("SELECT * FROM invariant_violations") == []
        await plpgsql_coverage.collect(owner)
        await owner.close()


CAPITALS = [
    *("иголка", "ИГОЛКА", "Иголка", "ЁЖИК", "ёжик", "їжак", "ЇЖАК", "ÉCLAIR", "éclair"),
    *("ΨΩΜΙ", "ψωμι", "ПОЛ-И", "milk 7", "MILK 7"),
]


@pytest.mark.parametrize("letters", ["C", "C.UTF-8"])
async def test_letters_of_other_scripts_are_found_in_either_case(
    cluster: str, letters: str
) -> None:
    """Whoever made the database, and however: one of the locale C knows no capitals but A-Z."""
    name = f"holdfast_letters_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(cluster)
    await admin.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"
        f" LC_COLLATE 'C' LC_CTYPE '{letters}'"
    )
    try:
        url = with_database(cluster, name)
        await upgrade_in_thread(url)
        owner = await asyncpg.connect(url, server_settings={"search_path": "holdfast"})
        await owner.execute("SELECT create_store('main')")
        names = ["Иголка Ёжик ЇЖАК", "Éclair", "Ψωμι", "Oat MILK 7"]
        await owner.execute(
            "INSERT INTO products (store_id, product_id, name)"
            " SELECT 'main', * FROM unnest($1::text[], $2::text[])",
            *(["Пол-и", "p1", "p2", "p3"], names),
        )
        for search in CAPITALS:
            document = json.loads(await owner.fetchval(LIST, search, ""))
            assert len(document["products"]) == 1, search
        assert json.loads(await owner.fetchval(LIST, "иголкА ёжиК", ""))["products"]
        assert not json.loads(await owner.fetchval(LIST, "ежик", ""))["products"]
        await owner.close()
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def found(api: Api, search: str) -> tuple[list[str], int]:
    """The ids of all that is found, and on how many pages."""
    ids, after, pages = [], "", 0
    while after is not None:
        query = {"q": search, "limit": "1000"} | ({"after": after} if after else {})
        response = await api.get(PRODUCTS, params=query)
        assert response.status == 200
        page = await response.json()
        ids += [product["product_id"] for product in page["products"]]
        after, pages = page["next"], pages + 1
    return ids, pages


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("needle", [NEEDLE]),
        ("NEEDLE (50", [NEEDLE]),
        (f"P{MANY}", [NEEDLE]),
        (IGOLKA, [IGOLKA]),
        ("12345", ["p12345"]),
        ("k, 12345", ["p12345"]),
        ("needle 50", []),
        ("klim", []),
    ],
)
async def test_what_has_three_letters_or_digits_in_a_row_is_found_at_once(
    api: Api, search: str, expected: list[str]
) -> None:
    assert await found(api, search) == (expected, 1)


@pytest.mark.parametrize(
    "search",
    ["е", "%)", "(", "a N", "иголка", "0%)", "иг", "50%", "milk, a", "milk, и", "milk milk"],
)
async def test_what_the_index_does_not_tell_apart_is_found_page_by_page(
    api: Api, search: str
) -> None:
    """Less than that, what nearly all have parts of; other scripts where the locale is C."""
    ids, pages = await found(api, search)
    names = {NEEDLE: "Oat milk, a Needle (50%)", IGOLKA: "Oat milk, иголка"}
    assert ids == [each for each in (IGOLKA, NEEDLE) if search in names[each]]
    assert pages <= 1 + MANY // MOST


async def test_all_that_match_are_found_in_order_without_a_gap(api: Api) -> None:
    ids, pages = await found(api, "oat")
    assert ids == [f"p{n:05}" for n in range(1, MANY + 1)]
    assert pages == MANY // 1000 + 1
    assert len((await found(api, "milk, 1"))[0]) == 1 + 10 + 100 + 1000 + 10_000


@pytest.mark.parametrize(
    ("search", "after", "most"),
    [
        (None, None, 300),
        ("oat", None, 300),
        ("12345", None, 2 * MOST + 300),
        ("needle", "p44000", 2300),
        ("nowhere", None, 2 * MOST + 300),
        ("x", None, 2 * MOST + 300),
        ("%", None, 2 * MOST + 300),
        ("milk milk", None, 3 * MOST + 300),
        ("milk milk", "p14000", 3 * MOST + 300),
    ],
)
async def test_no_search_reads_the_whole_catalog(
    sql: Any, search: str | None, after: str | None, most: int
) -> None:
    """B3: 300,000 products took 0.24 s, whoever asked. Where a page ends may be counted twice."""
    async with sql.transaction():
        await sql.fetchval(LIST, search, after)
        assert (await sql.fetchval(READ) or 0) <= most


async def test_what_is_offered_no_more_is_passed_over_in_steps(sql: Any) -> None:
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute("ALTER TABLE products DISABLE TRIGGER record_change")
    await sql.execute("UPDATE products SET is_active = false WHERE product_id <= 'p10003'")
    before = await sql.fetchval(READ)
    first = json.loads(await sql.fetchval(LIST, None, None))
    assert await sql.fetchval(READ) - before <= 3 * MOST + 300
    assert first == {"next": "p10000", "products": []}
    second = json.loads(await sql.fetchval(LIST, None, "p10000"))
    assert second["products"][0]["product_id"] == "p10004"
    await transaction.rollback()


async def test_searches_of_strangers_take_a_small_share_of_the_connections(
    api: Api, sql: Any, new_user: NewUser, signed_in: SignedIn
) -> None:
    headers = signed_in(await new_user("ann"))

    async def search() -> ClientResponse:
        return await api.get(PRODUCTS, params={"q": "milk"})

    async with sql.transaction():
        await sql.execute("LOCK TABLE products")
        searches = [asyncio.create_task(search()) for _ in range(20)]
        await becomes(lambda: sql.fetchval(WAITING))
        response = await api.get("/api/v1/users/me", headers=headers)
        assert (response.status, await sql.fetchval(WAITING)) == (200, SEARCHES_AT_ONCE)
        answers = await asyncio.gather(*searches)
    assert {answer.status for answer in answers} == {503}
    codes = Counter([(await answer.json())["code"] for answer in answers])
    assert codes["overloaded"] >= 20 - 2 * SEARCHES_AT_ONCE
    assert all("Retry-After" in answer.headers for answer in answers)
    assert (await search()).status == 200


async def test_who_has_signed_in_searches_beside_the_strangers(
    api: Api, sql: Any, new_user: NewUser, signed_in: SignedIn
) -> None:
    headers = signed_in(await new_user("bob"))
    async with sql.transaction():
        await sql.execute("LOCK TABLE products")
        strangers = [
            asyncio.create_task(api.get(PRODUCTS, params={"q": "milk"}))
            for _ in range(SEARCHES_AT_ONCE)
        ]
        await becomes(lambda: sql.fetchval(f"SELECT ({WAITING}) = {SEARCHES_AT_ONCE}"))
        bob = asyncio.create_task(api.get(PRODUCTS, params={"q": "milk"}, headers=headers))
        await becomes(lambda: sql.fetchval(f"SELECT ({WAITING}) > {SEARCHES_AT_ONCE}"))
    assert (await bob).status == 200
    await asyncio.gather(*strangers)


async def test_a_search_in_another_script_is_served_by_the_index(sql: Any) -> None:
    """Our own server knows the letters of all scripts, and so does its index of trigrams."""
    for search in ("ИГОЛКА", "иголка"):
        async with sql.transaction():
            before = await sql.fetchval(READ)
            document = json.loads(await sql.fetchval(LIST, search, ""))
            rows = await sql.fetchval(READ) - before
        assert [each["product_id"] for each in document["products"]] == [IGOLKA]
        assert document["next"] is None
        assert rows < 2 * MOST + 100, "what it walks through, not all"
