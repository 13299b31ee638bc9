"""People who can sign in, and what they show."""

from typing import Any

import pytest

from tests.support.aliases import Api, CreateUser, Header
from tests.support.builders import bearer, create_user, token_of


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
