"""Users with money."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

NewUser = Callable[..., Awaitable[int]]
NewAccount = Callable[..., Awaitable[int]]


async def certain(send: Callable[[], Awaitable[Any]]) -> tuple[int, dict[str, Any]]:
    """The answer, asked for again while a busy machine says that nothing was done (503)."""
    while (response := await send()).status == 503:
        assert (await response.json())["code"] in ("overloaded", "database_busy")
    return response.status, await response.json()


@pytest.fixture
def new_user(sql: Any) -> NewUser:
    """new_user("ann", store_id="main", is_active=True): the user_id of a customer."""

    async def create(login: str, store_id: str = "main", *, is_active: bool = True) -> int:
        await sql.execute("SELECT create_store($1)", store_id)
        return int(
            await sql.fetchval(
                "INSERT INTO users (store_id, login, password_hash, is_active)"
                " VALUES ($1, $2, '', $3) RETURNING user_id",
                *(store_id, login, is_active),
            )
        )

    return create


@pytest.fixture
def new_account(sql: Any) -> NewAccount:
    """new_account(user_id, 500, bill_id="b1", store_id="main"): its account_id."""

    async def create(
        user_id: int, balance: int, bill_id: str = "b1", store_id: str = "main"
    ) -> int:
        return int(
            await sql.fetchval(
                "INSERT INTO accounts (store_id, user_id, bill_id, balance)"
                " VALUES ($1, $2, $3, $4) RETURNING account_id",
                *(store_id, user_id, bill_id, balance),
            )
        )

    return create
