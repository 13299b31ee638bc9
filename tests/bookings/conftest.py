"""A restaurant with tables, and who works in it."""

from typing import Any

import pytest

from tests.support.aliases import Api
from tests.support.bookings import Restaurant
from tests.support.builders import bearer, create_user, token_of


@pytest.fixture
async def house(api: Api, sql: Any) -> Restaurant:
    """The store main, as its staff serve it."""
    user_id = await create_user(sql, "waiter", "staff")
    return Restaurant(api, sql, bearer(await token_of(sql, api, user_id)))
