"""A shop, as its staff serve it."""

from typing import Any

import pytest

from tests.support.aliases import Api
from tests.support.orders import Shop, open_shop


@pytest.fixture
async def shop(api: Api, sql: Any) -> Shop:
    return await open_shop(api, sql)
