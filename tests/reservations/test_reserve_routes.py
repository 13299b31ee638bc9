"""POST /api/v1/reserve and GET /api/v1/reserve/{reservation_id}, as a client sees them."""

from typing import Any

import pytest

from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import SUCCESS, callback, reserve


async def test_reserve_holds_stock(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 5})
    response = await api.post("/api/v1/reserve", json=callback())
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert await response.json() == SUCCESS
    level = await sql.fetchrow("SELECT * FROM stock_levels WHERE product_id = '7'")
    assert (level["on_hand"], level["reserved"], level["available"]) == (5, 3, 2)


async def test_a_repeat_answers_the_same_and_holds_once(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 3})
    first = await api.post("/api/v1/reserve", json=callback())
    again = await api.post("/api/v1/reserve", json=callback(timestamp="2026-11-22T00:00:00.5Z"))
    assert (first.status, again.status) == (200, 200)
    assert await first.read() == await again.read()
    assert await sql.fetchval("SELECT reserved FROM stock") == 3


@pytest.mark.parametrize("change", [{"product_id": "8"}, {"quantity": 2}])
async def test_an_id_reused_for_something_else_is_refused(
    api: Api, stocked: Stocked, sql: Any, change: dict[str, Any]
) -> None:
    await stocked({"7": 5, "8": 5})
    await api.post("/api/v1/reserve", json=callback())
    response = await api.post("/api/v1/reserve", json=callback(**change))
    assert response.status == 409
    body = await response.json()
    assert body["code"] == "reservation_id_reused"
    assert body["reservation_id"] == "1001"
    assert await sql.fetchval("SELECT sum(reserved) FROM stock") == 3


async def test_too_little_stock_is_refused_and_says_how_much_there_is(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 2})
    response = await api.post("/api/v1/reserve", json=callback())
    assert response.status == 409
    assert await response.json() == {
        "status": "error",
        "code": "insufficient_stock",
        "message": "Not enough stock available.",
        "detail": "3 of product 7 requested, 2 available.",
        "reservation_id": "1001",
        "store_id": "main",
        "product_id": "7",
        "quantity": 3,
        "available": 2,
    }
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


async def test_a_refusal_is_not_remembered(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 2})
    assert (await api.post("/api/v1/reserve", json=callback())).status == 409
    await sql.execute("UPDATE stock SET on_hand = 3")
    assert (await api.post("/api/v1/reserve", json=callback())).status == 200


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/v1/reserve", {"product_id": "99"}, "unknown_product"),
        ("/api/v1/stores/nowhere/reserve", {}, "unknown_store"),
    ],
)
async def test_unknown_things_are_404(
    api: Api, stocked: Stocked, path: str, body: dict[str, Any], code: str
) -> None:
    await stocked({"7": 2})
    response = await api.post(path, json=callback(**body))
    assert response.status == 404
    answer = await response.json()
    assert (answer["status"], answer["code"]) == ("error", code)


async def test_a_closed_reservation_is_not_called_held(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 3})
    await api.post("/api/v1/reserve", json=callback())
    assert (await api.post("/api/v1/reservations/1001/release")).status == 200
    response = await api.post("/api/v1/reserve", json=callback())
    assert response.status == 409
    assert (await response.json())["code"] == "reservation_closed"
    status = await (await api.get("/api/v1/reserve/1001")).json()
    assert status["status"] == "released"
    assert status["closed_at"].endswith("Z")


async def test_stores_are_apart(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 3}, "north")
    await stocked({"7": 3}, "south")
    for store in ("north", "south"):
        response = await api.post(f"/api/v1/stores/{store}/reserve", json=callback())
        assert response.status == 200
    assert (await api.get("/api/v1/stores/north/reserve/1001")).status == 200
    assert (await api.get("/api/v1/reserve/1001")).status == 404
    assert await sql.fetchval("SELECT array_agg(reserved) FROM stock") == [3, 3]


async def test_status_tells_what_became_of_a_reservation(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    await api.post("/api/v1/reserve", json=callback())
    response = await api.get("/api/v1/reserve/1001")
    assert response.status == 200
    body = await response.json()
    created_at = body.pop("created_at")
    assert created_at.startswith("20")
    assert created_at.endswith("Z")
    assert body == {
        "reservation_id": "1001",
        "product_id": "7",
        "quantity": 3,
        "status": "held",
        "timestamp": "2026-11-21T10:00:00Z",
        "expires_at": None,
        "closed_at": None,
    }


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/reserve/404", "unknown_reservation"),
        ("/api/v1/stores/nowhere/reserve/1", "unknown_store"),
    ],
)
async def test_status_of_unknown_things_is_404(
    api: Api, stocked: Stocked, path: str, code: str
) -> None:
    await stocked({})
    response = await api.get(path)
    assert response.status == 404
    assert (await response.json())["code"] == code


async def test_status_of_several_lines_belongs_elsewhere(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5, "8": 5})
    await reserve(sql, ("9", [("7", 1), ("8", 1)]))
    response = await api.get("/api/v1/reserve/9")
    assert response.status == 409
    assert (await response.json())["code"] == "several_lines"


async def test_an_expired_hold_reads_expired_at_once(api: Api, stocked: Stocked, sql: Any) -> None:
    await stocked({"7": 5})
    await sql.fetch("SELECT * FROM reserve_stock('main', '5', '7', 5, NULL, '1 millisecond')")
    body = await (await api.get("/api/v1/reserve/5")).json()
    assert body["status"] == "expired"
    assert body["closed_at"] == body["expires_at"]
    assert (await api.post("/api/v1/reserve", json=callback())).status == 200


async def test_the_service_role_can_do_no_more_than_call(connect_as: Connect) -> None:
    import asyncpg

    connection = await connect_as("service")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("SELECT * FROM stock")
