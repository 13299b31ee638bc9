"""People who can sign in, and what they show."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from service.auth import AUTH, HASHER, digest, new_key
from tests.conftest import Api

PASSWORD = "correct horse"
PASSWORD_HASH = HASHER.hash(PASSWORD)
SECRET = "s" * 32

CreateUser = Callable[..., Awaitable[int]]
Header = Callable[..., Awaitable[dict[str, str]]]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def create_user(
    sql: Any, login: str, role: str = "customer", store_id: str = "main", is_active: bool = True
) -> int:
    await sql.execute("SELECT create_store($1)", store_id)
    row = await sql.fetchrow(
        "SELECT * FROM create_user($1, $2, $3, $4, $5, 'tests')",
        *(store_id, login, PASSWORD_HASH, role, is_active),
    )
    assert row["result_code"] == "ok"
    return int(row["new_user_id"])


async def create_key(sql: Any, store_id: str = "main", name: str = "till") -> str:
    await sql.execute("SELECT create_store($1)", store_id)
    key = new_key(store_id)
    query = "SELECT result_code FROM create_api_key($1, $2, $3, 'tests')"
    assert await sql.fetchval(query, store_id, name, digest(key)) == "ok"
    return key


async def token_of(sql: Any, api: Api, user_id: int) -> str:
    """A token as signing in would give, without the time that takes."""
    user = await sql.fetchrow("SELECT * FROM users WHERE user_id = $1", user_id)
    now = int(datetime.now(UTC).timestamp())
    answer = api.app[AUTH].tokens.grant(
        user["store_id"], user_id, user["role"], user["token_generation"], now, now
    )
    return str(answer["access_token"])


@pytest.fixture
async def user(sql: Any) -> CreateUser:
    """user("maria", role="admin", store_id="main"): the id of a new user, who can sign in."""

    async def create(login: str, **of: Any) -> int:
        return await create_user(sql, login, **of)

    return create


@pytest.fixture
async def header_of(sql: Any, api: Api) -> Header:
    """header_of(user_id): what that user sends along."""

    async def header(user_id: int) -> dict[str, str]:
        return bearer(await token_of(sql, api, user_id))

    return header


@pytest.fixture
async def main(sql: Any) -> None:
    """The default store, empty."""
    await sql.execute("SELECT create_store('main')")
