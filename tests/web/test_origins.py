"""Browsers: which pages may call, which names they may call us by, and what they are told."""

from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from service.web.origins import host_name
from service.web.routing import API
from tests.support.aliases import Api, Serve, Stocked
from tests.support.builders import FEED, RESERVE, SECRET, bearer, callback, create_key, signed

MAIN = "/api/v1/stores/main"
SUPPLY = {"operation": "supply", "item_id": "7", "quantity": 1}
EXTENSION = "chrome-extension://fgponpodhbmadfljofbimhhlengambbn"
FOREIGN = ("https://evil.example", "http://evil.example:8080", "null", "http://[")


def own(api: Api) -> str:
    return f"http://{api.host}:{api.port}"


async def code_of(response: Any) -> tuple[int, str]:
    return response.status, (await response.json()).get("code", "")


@pytest.mark.parametrize("origin", FOREIGN)
async def test_in_development_a_foreign_page_writes_nothing(
    api: Api, stocked: Stocked, sql: Any, origin: str
) -> None:
    await stocked({"7": 5})
    for method, path in [("POST", MAIN + "/clean"), ("POST", RESERVE), ("PUT", MAIN)]:
        response = await api.request(method, path, json={}, headers={"Origin": origin})
        assert await code_of(response) == (403, "forbidden_origin")
        response = await api.request(  # as a form that needs no preflight
            method, path, data="a=b", headers={"Origin": origin, "Content-Type": "text/plain"}
        )
        assert await code_of(response) == (403, "forbidden_origin")
    assert await sql.fetchval("SELECT on_hand FROM stock") == 5
    assert (await api.get(MAIN, headers={"Origin": origin})).status == 200


async def test_pages_of_our_own_extensions_and_programs_write(
    serve: Serve, stocked: Stocked
) -> None:
    await stocked({"7": 5})
    api = await serve(
        cors_origins="https://shop.example", public_url="https://stock.example/holdfast"
    )
    origins = (own(api), "https://SHOP.example", "https://stock.example", EXTENSION, None)
    for origin in origins:
        headers = {"Origin": origin} if origin else {}
        assert (await api.post(MAIN, json=SUPPLY, headers=headers)).status == 200, origin


async def test_a_signature_is_credential_enough_from_any_page(
    serve: Serve, stocked: Stocked
) -> None:
    await stocked({})
    api = await serve(payment_key="k" * 24)
    reset = {"password": "correct horse battery"}
    for path, body in [("/payment/webhook", signed()), ("/users/reset?token=x", reset)]:
        response = await api.post(API + path, json=body, headers={"Origin": "null"})
        assert response.status in (401, 404)


async def test_in_production_credentials_decide(serve: Serve, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 5})
    api = await serve(environment="production", jwt_secret=SECRET)
    headers = bearer(await create_key(sql)) | {"Origin": "https://evil.example"}
    response = await api.post(RESERVE, json=callback(), headers=headers)
    assert response.status == 200
    assert "Access-Control-Allow-Origin" not in response.headers
    response = await api.post(RESERVE, json=callback(), headers={"Host": "stock.example"})
    assert response.status == 401, "the proxy knows its names"


async def test_extensions_may_open_the_feed(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    await (await api.ws_connect(FEED + "main", origin=EXTENSION)).close()


@pytest.mark.parametrize(
    ("host", "is_taken"),
    [
        ("127.0.0.1:8080", True), ("10.1.2.3", True), ("[::1]:8080", True), ("[fe80::1]", True),
        ("localhost", True), ("LOCALHOST:80", True), ("service:8080", True), ("db-1", True),
        ("stock.example", True), ("Stock.Example:443", True),
        ("evil.example", False), ("evil.example:8080", False), ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False), ("evil.example.", False), ("127.1", False),
        ("[::1].evil.example", False), ("[evil.example]", False),
    ],
)  # fmt: skip
async def test_development_answers_to_names_that_nobody_can_rebind(
    serve: Serve, stocked: Stocked, host: str, is_taken: bool
) -> None:
    await stocked({"7": 5})
    api = await serve(public_url="https://stock.example")
    for path in (MAIN, "/health/live", "/nothing"):
        response = await api.get(path, headers={"Host": host})
        assert ((await code_of(response)) == (403, "forbidden_host")) is not is_taken
    headers = {"Host": host, "Origin": f"http://{host}"}
    if not is_taken:
        with pytest.raises(WSServerHandshakeError, match="403"):
            await api.ws_connect(FEED + "main", headers=headers)


def test_the_name_of_a_host_is_without_its_port() -> None:
    names = {
        "a:1": "a",
        "A": "a",
        "[::1]:1": "",
        "1.2.3.4:1": "",
        "": "",
        "[x.y]": "[x.y]",
        "[::1]x": "[::1]x",
    }
    assert {host: host_name(host) for host in names} == names


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method}


async def test_preflights_are_answered_for_allowed_sites(serve: Serve, stocked: Stocked) -> None:
    await stocked({"7": 5})
    api = await serve(
        environment="production",
        jwt_secret=SECRET,
        cors_origins="https://shop.example https://b.example",
    )
    response = await api.options(RESERVE, headers=preflight("https://shop.example"))
    assert (response.status, await response.read()) == (204, b"")
    headers = response.headers
    assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert headers["Access-Control-Allow-Methods"] == "POST"
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    assert "Idempotency-Key" in headers["Access-Control-Allow-Headers"]
    assert headers["Vary"] == "Origin"
    response = await api.options(f"{API}/products/7", headers=preflight("https://b.example", "PUT"))
    assert response.headers["Access-Control-Allow-Methods"] == "DELETE, GET, PUT"


async def test_preflights_of_other_sites_are_refused(serve: Serve, stocked: Stocked) -> None:
    await stocked({"7": 5})
    api = await serve(cors_origins="https://shop.example")
    for origin in FOREIGN:
        response = await api.options(RESERVE, headers=preflight(origin))
        assert await code_of(response) == (403, "forbidden_origin")
        assert "Access-Control-Allow-Origin" not in response.headers
    nowhere = await api.options("/nothing", headers=preflight("https://shop.example"))
    assert nowhere.status == 404
    plain = await api.options(RESERVE)
    assert await code_of(plain) == (405, "method_not_allowed")


async def test_allowed_sites_may_read_every_answer(serve: Serve, stocked: Stocked) -> None:
    await stocked({"7": 5})
    api = await serve(cors_origins="https://shop.example")
    headers = {"Origin": "https://shop.example"}
    for path, status in [(MAIN, 200), (MAIN + "/xlsx_report", 200), ("/nothing", 404)]:
        response = await api.get(path, headers=headers)
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "X-Request-ID" in response.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    unasked = await api.get(MAIN)
    assert "Access-Control-Allow-Origin" not in unasked.headers
