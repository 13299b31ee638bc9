"""Requests as clients send them, rows as a DBA makes them."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from service.web.auth import AUTH, Grant, digest, new_key
from service.web.passwords import HASHER
from tests.support.aliases import (
    Api,
    Levels,
    Socket,
)
from tests.support.waits import certain

RESERVE = "/api/v1/reserve"


def callback(**changes: Any) -> dict[str, Any]:
    return {
        "reservation_id": "1001",
        "product_id": "7",
        "quantity": 3,
        "timestamp": "2026-11-21T10:00:00Z",
    } | changes


SUCCESS = {
    "status": "success",
    "message": "Reservation completed successfully.",
    "reservation_id": "1001",
}


URL = "/api/v1/reservations"


def hold(**changes: Any) -> dict[str, Any]:
    return {"reservation_id": "cart-1", "lines": [{"product_id": "tea", "quantity": 2}]} | changes


async def answer(response: Any) -> tuple[int, dict[str, Any]]:
    return response.status, await response.json()


async def stock(sql: Any, store_id: str = "main") -> dict[str, tuple[int, int]]:
    """Per product: on hand, reserved."""
    levels = "SELECT product_id, on_hand, reserved FROM stock_levels WHERE store_id = $1"
    rows = await sql.fetch(levels, store_id)
    return {row["product_id"]: (row["on_hand"], row["reserved"]) for row in rows}


async def lapse(sql: Any, reservation_id: str = "cart-1", store_id: str = "main") -> None:
    """Let a hold's time be over."""
    async with sql.transaction():
        await sql.execute("SELECT lock_reservation($1, $2)", store_id, reservation_id)
        await sql.execute(
            "UPDATE reservations SET expires_at = now() - interval '1 minute'"
            " WHERE store_id = $1 AND reservation_id = $2 AND status = 'held'"
            " AND expires_at IS NOT NULL",
            store_id,
            reservation_id,
        )


Line = tuple[str, int | None]
Request = tuple[str | None, list[Line]]
BATCH = (
    "SELECT a.* FROM reserve_stock_batch($1, $2, NULL, NULL, $3, NULL, $4, $5, $6) AS b,"
    " unnest(b.result_codes, b.documents) AS a (result_code, document)"
)


async def reserve(
    connection: Any,
    *requests: Request,
    store_id: str = "main",
    ttl: timedelta | None = None,
    is_numbered: bool = False,
) -> list[str]:
    """The result codes of a batch of (reservation_id, [(product_id, quantity), …]).

    Where each has one line their numbers are left out, as the service does, or told on purpose.
    """
    lines = [(n, *line) for n, (_, lines) in enumerate(requests, 1) for line in lines]
    is_plain = all(len(lines) == 1 for _, lines in requests) and not is_numbered
    rows = await connection.fetch(
        BATCH,
        store_id,
        [reservation_id for reservation_id, _ in requests],
        [ttl] * len(requests),
        None if is_plain else [number for number, _, _ in lines],
        [product_id for _, product_id, _ in lines],
        [quantity for _, _, quantity in lines],
    )
    return [row["result_code"] for row in rows]


async def reserved(connection: Any) -> dict[str, int]:
    """What each product's row says is reserved."""
    rows = await connection.fetch("SELECT product_id, reserved FROM stock ORDER BY 1")
    return {row["product_id"]: row["reserved"] for row in rows}


async def post_all(api: Api, bodies: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Every callback at once, each on a connection of its own."""

    async def post(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return await certain(lambda: api.post("/api/v1/reserve", json=body))

    return await asyncio.gather(*map(post, bodies))


PASSWORD = "correct horse"
PASSWORD_HASH = HASHER.hash(PASSWORD)
SECRET = "0123456789abcdef-of-these-tests."


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def create_user(
    sql: Any, login: str, role: str = "customer", store_id: str = "main", is_active: bool = True
) -> int:
    await sql.execute("SELECT create_store($1)", store_id)
    row = await sql.fetchrow(
        "SELECT * FROM create_user($1, $2, $3, $4, $5, NULL, 'tests')",
        *(store_id, login, PASSWORD_HASH, role, is_active),
    )
    assert row["result_code"] == "created"
    return int(json.loads(row["document"])["user_id"])


async def create_key(sql: Any, store_id: str = "main", name: str = "till", **more: Any) -> str:
    """create_key(sql, scopes=["stock"], expires_at=…): a key, as it is shown once."""
    await sql.execute("SELECT create_store($1)", store_id)
    key = new_key(store_id)
    query = "SELECT result_code FROM create_api_key($1, $2, $3, $4, $5, 'tests')"
    parameters = (store_id, name, digest(key), more.get("scopes"), more.get("expires_at"))
    assert await sql.fetchval(query, *parameters) == "created"
    return key


async def token_of(sql: Any, api: Api, user_id: int, *, has_totp: bool = False) -> str:
    """A token as signing in would give, without the time that takes."""
    store_id = await sql.fetchval("SELECT store_id FROM users WHERE user_id = $1", user_id)
    document = await sql.fetchval(
        "SELECT begin_session($1, $2, $3, '192.0.2.1', 'tests', '30 days', '1 hour')",
        *(store_id, user_id, has_totp),
    )
    grant = msgspec.json.decode(document, type=Grant)
    return str(api.app[AUTH].tokens.answer(store_id, grant)["access_token"])


SIGN_IN, SIGN_OUT, REFRESH = "/api/v1/auth", "/api/v1/auth/logout", "/api/v1/auth/refresh"
OTHER = "battery staple"


async def sign_in(api: Api, login: str, password: str = PASSWORD, **more: Any) -> Any:
    return await api.post(SIGN_IN, json={"login": login, "password": password}, **more)


FEED = "/api/v1/ws/stores/"


async def told(socket: Socket) -> Levels:
    """The next message: quantity, reserved and available by item."""
    message = await socket.receive_json(timeout=60)
    return {
        item["item_id"]: (item["quantity"], item["reserved"], item["available"])
        for item in message["store"]["report"]
    }


async def told_until(socket: Socket, expected: Levels) -> list[Levels]:
    """All messages up to the one that is as expected."""
    messages = [await told(socket)]
    while messages[-1] != expected:
        messages.append(await told(socket))
    return messages


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


WEBHOOK = "/api/v1/payment/webhook"
KEY = "gfdmhghif38yrf9ew0jkf32"


def payment(**changes: Any) -> dict[str, Any]:
    return {"transaction_id": 1234567, "user_id": 1, "bill_id": 11, "amount": 100} | changes


def sha1(content: Mapping[str, Any], key: str = KEY) -> str:
    fields = (content[name] for name in ("transaction_id", "user_id", "bill_id", "amount"))
    return hashlib.sha1(":".join(map(str, (key, *fields))).encode()).hexdigest()


def signed(**changes: Any) -> dict[str, Any]:
    """A payment with its SHA-1 signature."""
    content = payment(**changes)
    return content | {"signature": sha1(content)}
