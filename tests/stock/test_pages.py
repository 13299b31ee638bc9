"""A store of any size is read page by page; all at once up to what one document may hold."""

import json
from typing import Any

import pytest
from aiohttp import WSMsgType

from tests.support.aliases import Api, Stocked
from tests.support.waits import listens

MAIN = "/api/v1/stores/main"


async def read(api: Api, query: str) -> tuple[list[str], Any]:
    response = await api.get(MAIN + query)
    assert response.status == 200, await response.text()
    body = await response.json()
    return [item["item_id"] for item in body["store"]["report"]], body.get("next", "none")


@pytest.fixture
async def few(sql: Any) -> None:
    """A document holds three items at most."""
    definition = await sql.fetchval("SELECT pg_get_functiondef('most_items'::regproc)")
    assert "100000" in definition
    await sql.execute(definition.replace("100000", "3"))


@pytest.mark.parametrize("past", ["", "&as_of=9000-01-01T00:00:00Z"])
async def test_pages_follow_one_another_to_the_last(
    api: Api, stocked: Stocked, sql: Any, past: str
) -> None:
    await stocked(dict.fromkeys("cabed", 1) | {"zero": 0})
    seen, after = [], ""
    for expected in ("b", "d", None):
        page, after = await read(api, f"?limit=2&after={after}{past}")
        assert after == expected
        seen += page
    assert seen == list("abcde")
    assert await read(api, "?limit=5" + past) == (list("abcde"), None)
    assert await read(api, "?after=e" + past) == ([], None)
    assert await read(api, "?after=b" + past) == (list("cde"), None)


async def test_without_a_limit_all_items_come_and_no_next(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 1, "b": 2})
    assert await read(api, "") == (["a", "b"], "none")


@pytest.mark.usefixtures("few")
async def test_more_than_a_document_holds_is_422_and_pages_are_not(
    api: Api, stocked: Stocked
) -> None:
    await stocked(dict.fromkeys("abc", 1) | {"zero": 0})
    assert await read(api, "") == (list("abc"), "none")
    await stocked({"d": 1})
    for query in ("", "?as_of=9000-01-01T00:00:00Z"):
        response = await api.get(MAIN + query)
        assert response.status == 422
        body = await response.json()
        assert (body["code"], body["most"]) == ("too_many_items", 3)
        assert body["detail"] == "One document holds at most 3; read pages: limit and after."
    assert await read(api, "?limit=1000") == (list("abcd"), None)


@pytest.mark.usefixtures("few")
async def test_the_handshake_of_the_feed_says_too_many_items(api: Api, stocked: Stocked) -> None:
    await stocked(dict.fromkeys("abcd", 1))
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    response = await api.get("/api/v1/ws/stores/main", headers=headers)
    body = await response.json()
    assert (response.status, body["code"], body["most"]) == (422, "too_many_items", 3)


@pytest.mark.usefixtures("few")
async def test_a_watched_store_that_grows_too_large_closes_its_sockets(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked(dict.fromkeys("abc", 1))
    async with api.ws_connect("/api/v1/ws/stores/main") as socket:
        assert len((await socket.receive_json(timeout=5))["store"]["report"]) == 3
        await listens(sql)
        await stocked({"d": 1})
        # Too many to name, as after an import: the whole store is read again.
        await sql.execute("""SELECT pg_notify('holdfast.stock', '["main"]')""")
        while (message := await socket.receive(timeout=5)).type is WSMsgType.TEXT:
            pass
        assert (message.data, message.extra) == (1009, "too_many_items")


@pytest.mark.usefixtures("few")
async def test_clean_answers_what_one_document_holds_and_where_to_go_on(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked(dict.fromkeys("abcd", 5))
    for product in "abcd":
        await sql.execute("SELECT reserve_stock('main', $1, $1, 2)", product)
    response = await api.post(MAIN + "/clean")
    body = await response.json()
    assert [item["quantity"] for item in body["store"]["report"]] == [2, 2, 2]
    assert body["next"] == "c"
    assert await read(api, "?after=c") == (["d"], None)


async def test_more_than_a_call_can_write_off_is_refused_and_nothing_is_done(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked(dict.fromkeys("abcd", 5) | {"none": 0})
    source = await sql.fetchval("SELECT pg_get_functiondef('clean_store'::regproc)")
    for most, status in ((3, 422), (4, 200)):
        await sql.execute(source.replace("50000", str(most)))
        for path in (MAIN, "/stores/main"):
            response = await api.post(path + "/clean")
            assert response.status == status
            if status == 422:
                body = await response.json()
                assert (body["code"], body["most"]) == ("too_many_at_once", most)
        total = await sql.fetchval("SELECT sum(on_hand) FROM stock")
        assert total == (20 if status == 422 else 0)


async def test_a_page_costs_the_same_wherever_it_is(sql: Any) -> None:
    await sql.execute("SELECT create_store('main')")
    await sql.execute(
        "INSERT INTO products (store_id, product_id)"
        " SELECT 'main', 'p' || n FROM generate_series(10000, 29999) AS n"
    )
    await sql.execute("SET holdfast.bulk = 'on'; UPDATE stock SET on_hand = 1; ANALYZE")

    async def blocks(after: str) -> int:
        """How many pages of tables and indexes are read."""
        plan = await sql.fetchval(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT json)"
            f" SELECT * FROM list_stock('main', NULL, NULL, '{after}', 11)"
        )
        return int(json.loads(plan)[0]["Plan"]["Shared Hit Blocks"])

    await blocks("")  # reads the catalogs, too
    assert await blocks("p29980") < 300


async def test_a_page_of_an_unknown_store_is_404(api: Api) -> None:
    response = await api.get("/api/v1/stores/nowhere?limit=5")
    assert (response.status, (await response.json())["code"]) == (404, "unknown_store")


async def test_wrong_pages_are_422(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 1})
    for query in ("limit=0", "limit=1001", "limit=x", "after=%00", "more=1"):
        assert (await api.get(f"{MAIN}?{query}")).status == 422, query
