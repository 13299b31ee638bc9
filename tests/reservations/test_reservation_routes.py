"""Holds with lines and a lifetime: made, listed, committed, released, extended, lapsed."""

import random
from typing import Any

import pytest

from tests.support.aliases import Api, Stocked
from tests.support.builders import URL, Line, answer, callback, hold, lapse, reserve, stock
from tests.support.orders import own_holds


async def test_a_hold_of_several_lines_is_made_once(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"tea": 5, "cup": 1})
    lines = [
        {"product_id": "tea", "quantity": 2},
        {"product_id": "cup", "quantity": 1},
        {"product_id": "tea", "quantity": 1},
    ]
    status, body = await answer(await api.post(URL, json=hold(lines=lines, ttl_seconds=600)))
    assert status == 201
    assert body["lines"] == [
        {"product_id": "cup", "quantity": 1},
        {"product_id": "tea", "quantity": 3},
    ]
    assert (body["reservation_id"], body["kind"], body["status"]) == ("cart-1", "hold", "held")
    assert body["expires_at"] > body["created_at"]
    again = await answer(await api.post(URL, json=hold(lines=lines, ttl_seconds=600)))
    assert again == (200, body)
    assert await answer(await api.get(f"{URL}/cart-1")) == (200, body)
    assert await stock(sql) == {"tea": (5, 3), "cup": (1, 1)}


async def test_an_id_is_made_where_none_is_given(api: Api, stocked: Stocked) -> None:
    await stocked({"tea": 5})
    made = [await answer(await api.post(URL, json={"lines": hold()["lines"]})) for _ in range(2)]
    assert [status for status, _ in made] == [201, 201]
    assert made[0][1]["reservation_id"] != made[1][1]["reservation_id"]
    assert made[0][1]["expires_at"] is None


async def test_every_short_line_is_listed_and_nothing_is_held(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 1, "cup": 0, "pot": 9})
    lines = [{"product_id": product, "quantity": 2} for product in ("tea", "cup", "pot")]
    status, body = await answer(await api.post(URL, json=hold(lines=lines)))
    assert (status, body["code"]) == (409, "insufficient_stock")
    assert body["lines"] == [
        {"product_id": "cup", "quantity": 2, "available": 0},
        {"product_id": "tea", "quantity": 2, "available": 1},
    ]
    assert await stock(sql) == {"tea": (1, 0), "cup": (0, 0), "pot": (9, 0)}


async def test_only_the_unknown_products_are_listed(api: Api, stocked: Stocked) -> None:
    await stocked({"tea": 1})
    lines = [{"product_id": product, "quantity": 2} for product in ("tea", "nope")]
    status, body = await answer(await api.post(URL, json=hold(lines=lines)))
    assert (status, body["code"], body["product_id"]) == (404, "unknown_product", "nope")
    assert [line["product_id"] for line in body["lines"]] == ["nope"]


async def test_a_repeated_key_is_malformed_also_where_another_is_left_out(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    body = '{"lines": [{"product_id": "7", "quantity": 1}], "ttl_seconds": 5, "ttl_seconds": 6}'
    response = await api.post(URL, data=body, headers={"Content-Type": "application/json"})
    assert (response.status, (await response.json())["code"]) == (400, "malformed_json")
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reservation_id": "a:b"}, "reservation_id"),
        ({"reservation_id": ""}, "reservation_id"),
        ({"reservation_id": "x" * 65}, "reservation_id"),
        ({"reservation_id": "\u200b"}, "reservation_id"),
        ({"lines": []}, "lines"),
        ({"lines": hold()["lines"] * 101}, "lines"),
        ({"lines": [{"product_id": "tea"}]}, "lines[0]"),
        ({"lines": [{"product_id": "tea", "quantity": 0}]}, "lines[0].quantity"),
        ({"lines": [{"product_id": 1, "quantity": 1}]}, "lines[0].product_id"),
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 1.5}, "ttl_seconds"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_invalid_holds_are_422_by_field(
    api: Api, stocked: Stocked, change: dict[str, Any], field: str
) -> None:
    await stocked({"tea": 5})
    status, body = await answer(await api.post(URL, json=hold(**change)))
    assert (status, body["code"]) == (422, "invalid_body")
    assert [error["field"] for error in body["errors"]] == [field]


async def test_a_hold_may_not_live_longer_than_the_limit_which_is_named(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 5})
    for lines in (hold()["lines"], hold()["lines"] * 2):
        body = hold(ttl_seconds=86401, lines=lines)
        status, refusal = await answer(await api.post(URL, json=body))
        assert (status, refusal["code"]) == (422, "lifetime_too_long")
        assert [error["field"] for error in refusal["errors"]] == ["ttl_seconds"]
        assert "86400" in refusal["detail"]
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0
    assert (await api.post(URL, json=hold(ttl_seconds=86400))).status == 201


async def test_committed_goods_leave_once_and_the_ledger_says_why(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 5})
    await api.post(URL, json=hold(ttl_seconds=600))
    for _ in range(2):
        status, body = await answer(await api.post(f"{URL}/cart-1/commit"))
        assert (status, body["status"]) == (200, "committed")
    assert await stock(sql) == {"tea": (3, 0)}
    row = await sql.fetchrow("SELECT * FROM stock_movements WHERE reason = 'commit'")
    assert (row["delta"], row["on_hand_after"], row["reference"]) == (-2, 3, "cart-1")
    await sql.execute("UPDATE stock SET on_hand = 4")
    reasons = await sql.fetch("SELECT reason FROM stock_movements ORDER BY movement_id")
    assert [row["reason"] for row in reasons] == ["adjustment", "commit", "adjustment"]
    await lapse(sql)
    assert (await answer(await api.get(f"{URL}/cart-1")))[1]["status"] == "committed"
    assert (await api.post(URL, json=hold(ttl_seconds=600))).status == 200


async def test_released_units_are_available_at_once_and_once(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 2})
    await api.post(URL, json=hold())
    for _ in range(2):
        status, body = await answer(await api.post(f"{URL}/cart-1/release"))
        assert (status, body["status"]) == (200, "released")
    assert await stock(sql) == {"tea": (2, 0)}
    status, body = await answer(await api.post(URL, json=hold()))
    assert (status, body["code"]) == (409, "reservation_closed")


@pytest.mark.parametrize(
    ("first", "second"), [("commit", "release"), ("release", "commit"), ("release", "extend")]
)
async def test_a_contradicting_verb_is_refused(
    api: Api, stocked: Stocked, sql: Any, first: str, second: str
) -> None:
    await stocked({"tea": 5})
    await api.post(URL, json=hold(ttl_seconds=600))
    assert (await api.post(f"{URL}/cart-1/{first}")).status == 200
    before = await stock(sql)
    body: dict[str, Any] = {"json": {"ttl_seconds": 60}} if second == "extend" else {}
    status, refusal = await answer(await api.post(f"{URL}/cart-1/{second}", **body))
    assert (status, refusal["code"]) == (409, "reservation_closed")
    assert refusal["reservation_id"] == "cart-1"
    assert await stock(sql) == before


@pytest.mark.parametrize("verb", ["commit", "release"])
async def test_a_lapsed_hold_can_no_more_be_resolved(
    api: Api, stocked: Stocked, sql: Any, verb: str
) -> None:
    await stocked({"tea": 5})
    await api.post(URL, json=hold(ttl_seconds=600))
    await lapse(sql)
    assert (await answer(await api.get(f"{URL}/cart-1")))[1]["status"] == "expired"
    status, body = await answer(await api.post(f"{URL}/cart-1/{verb}"))
    assert (status, body["code"]) == (409, "reservation_closed")
    assert await stock(sql) == {"tea": (5, 0)}


async def test_extending_never_shortens_and_has_an_end(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 5})
    made = (await answer(await api.post(URL, json=hold(ttl_seconds=600))))[1]

    async def extend(seconds: int) -> str:
        response = await api.post(f"{URL}/cart-1/extend", json={"ttl_seconds": seconds})
        status, body = await answer(response)
        assert status == 200
        expires_at: str = body["expires_at"]
        return expires_at

    assert await extend(1) == made["expires_at"]
    assert await extend(3600) > made["expires_at"]
    longest = await extend(10**8)
    assert await sql.fetchval("SELECT expires_at - created_at = '1 day' FROM reservations")
    assert await extend(10**8) == longest


async def test_what_never_lapses_cannot_be_extended(api: Api, stocked: Stocked) -> None:
    await stocked({"tea": 5})
    await api.post(URL, json=hold())
    response = await api.post(f"{URL}/cart-1/extend", json={"ttl_seconds": 60})
    status, body = await answer(response)
    assert (status, body["code"]) == (409, "no_expiry")


@pytest.mark.parametrize("verb", ["commit", "release", "extend"])
async def test_the_hold_of_an_order_is_the_orders(
    api: Api, stocked: Stocked, sql: Any, verb: str
) -> None:
    await stocked({"tea": 5})
    await sql.execute(
        "SELECT hold_lines('main', 'order:1', 'order', ARRAY['tea'], ARRAY[2], NULL, NULL, 'me')"
    )
    body: dict[str, Any] = {"json": {"ttl_seconds": 60}} if verb == "extend" else {}
    response = await api.post(f"{URL}/order:1/{verb}", **body)
    status, body = await answer(response)
    assert (status, body["code"]) == (409, "held_by_order")
    await own_holds(sql)


@pytest.mark.parametrize("verb", ["", "/commit", "/release", "/extend"])
async def test_unknown_reservations_are_404(api: Api, stocked: Stocked, verb: str) -> None:
    await stocked({})
    send = api.post if verb else api.get
    body: dict[str, Any] = {"json": {"ttl_seconds": 60}} if verb == "/extend" else {}
    for prefix, code in (("/api/v1", "reservation"), ("/api/v1/stores/nowhere", "store")):
        status, answered = await answer(await send(f"{prefix}/reservations/none{verb}", **body))
        assert (status, answered["code"]) == (404, f"unknown_{code}")


async def test_the_function_refuses_a_lifetime_that_is_none(sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 5})
    await sql.fetch("SELECT reserve_stock('main', '1', 'tea', 1, NULL, '1 hour')")
    for ttl in ("NULL", "'0 s'", "'-1 s'"):
        call = f"SELECT result_code FROM extend_reservation('main', '1', {ttl}, '1 day')"
        assert await sql.fetchval(call) == "invalid_request"


async def test_a_list_is_paged_and_filtered(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"tea": 50, "cup": 50})
    for n in range(5):
        lines: list[Line] = [("tea", 1)] if n % 2 else [("cup", 1), ("tea", 1)]
        await reserve(sql, (f"r{n}", lines))
    await api.post(f"{URL}/r1/commit")

    async def page(query: str) -> tuple[list[str], str | None]:
        status, body = await answer(await api.get(f"{URL}?{query}"))
        assert status == 200
        return [each["reservation_id"] for each in body["reservations"]], body["next"]

    assert await page("") == (["r0", "r1", "r2", "r3", "r4"], None)
    assert await page("limit=2") == (["r0", "r1"], "r1")
    assert await page("limit=2&after=r1") == (["r2", "r3"], "r3")
    assert await page("limit=2&after=r3") == (["r4"], None)
    assert await page("status=committed") == (["r1"], None)
    assert await page("status=held&product_id=cup") == (["r0", "r2", "r4"], None)
    assert await page("product_id=none") == ([], None)
    for query in ("limit=0", "limit=1001", "limit=x", "status=open", "x=1", "limit=1&limit=2"):
        assert (await api.get(f"{URL}?{query}")).status == 422
    assert (await api.get(f"{URL}?after=%00")).status == 422
    assert (await api.get("/api/v1/stores/nowhere/reservations")).status == 404


async def test_the_sweeper_writes_down_what_has_lapsed(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"tea": 5, "cup": 5})
    await api.post(URL, json=hold(ttl_seconds=600))
    lines = [{"product_id": "cup", "quantity": 1}]
    await api.post(URL, json=hold(reservation_id="cart-2", ttl_seconds=600, lines=lines))
    await api.post(URL, json=hold(reservation_id="cart-3", lines=lines))
    sweep = "SELECT expired_count FROM expire_reservations('main', 1)"
    assert await sql.fetchval(sweep) == 0
    await lapse(sql)
    await lapse(sql, "cart-2")
    assert [await sql.fetchval(sweep) for _ in range(3)] == [1, 1, 0]
    rows = await sql.fetch("SELECT status, closed_by FROM reservations ORDER BY reservation_id")
    assert [tuple(row) for row in rows] == [
        ("expired", "expiry"),
        ("expired", "expiry"),
        ("held", None),
    ]
    lapsed = "SELECT bool_and(closed_at = expires_at) FROM reservations WHERE status = 'expired'"
    assert await sql.fetchval(lapsed)
    assert await sql.fetchval("SELECT array_agg(reserved ORDER BY product_id) FROM stock") == [1, 0]


async def test_a_batch_of_callbacks_is_answered_one_by_one_in_order(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5})
    asked = [
        ("1", "7", 4, "ok"),
        ("2", "7", 4, "insufficient_stock"),
        ("3", "7", 1, "ok"),
        ("1", "7", 4, "already_reserved"),
        ("1", "7", 3, "reservation_id_reused"),
        ("4", "8", 1, "unknown_product"),
    ]
    bodies = [callback(reservation_id=i, product_id=p, quantity=q) for i, p, q, _ in asked]
    status, body = await answer(await api.post("/api/v1/reserve/batch", json=bodies))
    assert status == 200
    assert [(each["reservation_id"], each["code"]) for each in body["results"]] == [
        (reservation_id, code) for reservation_id, _, _, code in asked
    ]
    assert body["results"][0] == {
        "reservation_id": "1",
        "status": "success",
        "code": "ok",
        "message": "Reservation completed successfully.",
    }
    assert body["results"][1]["status"] == "error"
    assert await stock(sql) == {"7": (5, 5)}


async def test_a_batch_of_a_thousand_equals_the_same_one_by_one(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    for store in ("main", "other"):
        await stocked({str(product): product * 3 for product in range(1, 30)}, store)
    chance = random.Random(1000)
    bodies: list[dict[str, Any]] = []
    for n in range(1000):
        fresh = callback(
            reservation_id=str(chance.randint(1, 700)),
            product_id=str(chance.randint(1, 32)),
            quantity=chance.randint(1, 11),
        )
        bodies.append(chance.choice(bodies) if n % 5 == 4 else fresh)
    response = await api.post("/api/v1/reserve/batch", json=bodies)
    together = [each["code"] for each in (await response.json())["results"]]
    alone = []
    for body in bodies:
        response = await api.post("/api/v1/stores/other/reserve", json=body)
        answered = await response.json()
        alone.append(answered.get("code", "ok"))
    grants = {"already_reserved": "ok"}
    assert [grants.get(code, code) for code in together] == alone
    assert set(together) == {
        "ok",
        "already_reserved",
        "reservation_id_reused",
        "insufficient_stock",
        "unknown_product",
    }
    # Big-then-small: what did not fit left its units to a smaller one behind it.
    first_short: dict[str, int] = {}
    for n, (body, code) in enumerate(zip(bodies, together, strict=True)):
        if code == "insufficient_stock":
            first_short.setdefault(body["product_id"], n)
    assert any(
        code == "ok" and first_short.get(body["product_id"], len(bodies)) < n
        for n, (body, code) in enumerate(zip(bodies, together, strict=True))
    )
    assert await stock(sql, "main") == await stock(sql, "other")


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_1_to_1000_callbacks(api: Api, stocked: Stocked, count: int) -> None:
    await stocked({"7": 5})
    response = await api.post("/api/v1/reserve/batch", json=[callback()] * count)
    assert response.status == 422


async def test_a_wrong_callback_of_a_batch_is_named(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 5})
    bodies = [callback(), callback(reservation_id="2", quantity=0)]
    status, body = await answer(await api.post("/api/v1/reserve/batch", json=bodies))
    assert (status, body["errors"][0]["field"]) == (422, "[1].quantity")
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0
