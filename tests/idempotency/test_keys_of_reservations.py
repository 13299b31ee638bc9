"""Idempotency-Key where requests are otherwise sent together: once, whole, and to the letter."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from service.app import create_app
from service.database.coalesce import Coalescer
from service.database.pool import Database
from service.settings import Settings
from service.web import idempotency
from service.web.context import ROUTES
from tests.support.aliases import Api, Stocked
from tests.support.builders import RESERVE, callback

HOLDS = "/api/v1/reservations"
HOLD = {"lines": [{"product_id": "7", "quantity": 2}], "ttl_seconds": 60}
BASKET = {"lines": [{"product_id": "7", "quantity": 1}, {"product_id": "8", "quantity": 1}]}
REQUESTS: dict[str, tuple[str, Any, Any]] = {
    "callback": (RESERVE, callback(), callback(quantity=2)),
    "batch": (RESERVE + "/batch", [callback()], [callback(quantity=2)]),
    "hold": (HOLDS, HOLD, HOLD | {"ttl_seconds": 61}),
    "basket": (HOLDS, BASKET, HOLD),
    "named hold": (HOLDS, HOLD | {"reservation_id": "cart"}, HOLD | {"reservation_id": "other"}),
}


async def send(api: Api, path: str, body: Any, *keys: str) -> tuple[int, bytes, str]:
    headers = [("Idempotency-Key", key) for key in keys]
    response = await api.post(path, json=body, headers=headers)
    content = await response.read()
    answer = await response.json()
    return response.status, content, answer.get("code", "")


async def reserved(sql: Any) -> int:
    return int(await sql.fetchval("SELECT sum(reserved) FROM stock"))


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_repeat_gets_the_first_answer_to_the_letter(
    api: Api, stocked: Stocked, sql: Any, kind: str
) -> None:
    await stocked({"7": 5, "8": 5})
    path, body, other = REQUESTS[kind]
    first = await send(api, path, body, "k")
    held = await reserved(sql)
    assert first[0] in (200, 201)
    assert held > 0
    assert await send(api, path, body, "k") == first
    status, _, code = await send(api, path, other, "k")
    assert (status, code) == (422, "idempotency_key_reused")
    assert await reserved(sql) == held
    await sql.execute("UPDATE stock SET on_hand = 0 WHERE reserved = 0")
    assert await send(api, path, body, "k") == first, "whatever has become of it since"


@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_wrong_key_holds_nothing(api: Api, stocked: Stocked, sql: Any, kind: str) -> None:
    await stocked({"7": 5, "8": 5})
    path, body, _ = REQUESTS[kind]
    for keys in (("",), ("x" * 256,), ("a", "b"), ("a", "a"), ("ключ",)):
        status, _, code = await send(api, path, body, *keys)
        assert (status, code) == (422, "invalid_header")
    assert await reserved(sql) == 0


@pytest.mark.parametrize("kind", REQUESTS)
async def test_what_cannot_be_kept_is_not_done(
    api: Api, stocked: Stocked, sql: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stocked({"7": 5, "8": 5})
    path, body, _ = REQUESTS[kind]
    monkeypatch.setattr(idempotency, "KEEP_IDEMPOTENT_ANSWER", text("SELECT keep_no_answer()"))
    assert (await send(api, path, body, "k"))[0] == 503
    assert await reserved(sql) == 0
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


async def test_a_refusal_leaves_the_key_free(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 1})
    body = callback(quantity=2)
    assert (await send(api, RESERVE, body, "k"))[0] == 409
    await sql.execute("UPDATE stock SET on_hand = 2")
    assert (await send(api, RESERVE, body, "k"))[0] == 200
    assert await reserved(sql) == 2


VERBS = {"commit": None, "release": None, "extend": {"ttl_seconds": 90}}


@pytest.mark.parametrize("verb", VERBS)
async def test_a_verb_is_repeated_to_the_letter(
    api: Api, stocked: Stocked, sql: Any, verb: str
) -> None:
    await stocked({"7": 5})
    await api.post(HOLDS, json=HOLD | {"reservation_id": "cart"})
    path, body = f"{HOLDS}/cart/{verb}", VERBS[verb]
    first = await send(api, path, body, "k")
    assert first[0] == 200
    if verb == "extend":
        assert (await send(api, path, {"ttl_seconds": 900}))[0] == 200
        assert (await send(api, path, {"ttl_seconds": 91}, "k"))[2] == "idempotency_key_reused"
    assert await send(api, path, body, "k") == first, "whatever has become of it since"
    assert await reserved(sql) == (2 if verb == "extend" else 0)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_wrong_key_resolves_nothing(
    api: Api, stocked: Stocked, sql: Any, verb: str
) -> None:
    await stocked({"7": 5})
    await api.post(HOLDS, json=HOLD | {"reservation_id": "cart"})
    before = await sql.fetch("SELECT * FROM reservations")
    for keys in (("",), ("x" * 256,), ("a", "b"), ("a", "a")):
        status, _, code = await send(api, f"{HOLDS}/cart/{verb}", VERBS[verb], *keys)
        assert (status, code) == (422, "invalid_header")
    assert await sql.fetch("SELECT * FROM reservations") == before


async def test_twins_hold_once(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 50})
    answers = await asyncio.gather(*(send(api, HOLDS, HOLD, "k") for _ in range(30)))
    assert {status for status, _, _ in answers} <= {201, 409}
    assert len({content for status, content, _ in answers if status == 201}) == 1
    assert await reserved(sql) == 2


async def test_the_coalescer_takes_nothing_that_belongs_to_a_transaction(dsn: str) -> None:
    database = Database(dsn)
    calls: Any = None
    function: Any = None

    async def work() -> tuple[None, bool]:
        await Coalescer(calls).submit(function, "main", ["7"], [1])
        return None, True

    with pytest.raises(RuntimeError, match="commits apart"):
        await database.in_transaction(work)
    await database.close()


SECRET = {
    "/auth", "/auth/refresh", "/users", "/keys", "/users/me/password", "/users/me/totp",
    "/users/{user_id}/reset-link", "/users/reset", "/payment/webhook", "/bookings/cancel",
    "/hooks", "/hooks/{hook_id}/rotate",
}  # fmt: skip
"""POSTs that bring or answer a secret, or whose credential is a link or a signature."""


def test_every_other_post_takes_a_key() -> None:
    routes = create_app(Settings(), Database(""))[ROUTES].values()
    posts = [route for route in routes if route.method == "POST" and route.is_documented]
    without = {route.path for route in posts if not route.takes_key}
    assert without == SECRET


def test_a_stranger_is_known_by_more_than_being_one() -> None:
    routes = create_app(Settings(), Database(""))[ROUTES].values()
    open_to_all = {route.path for route in routes if route.takes_key and route.is_limited}
    assert open_to_all == {route.path for route in routes if route.known_by}
