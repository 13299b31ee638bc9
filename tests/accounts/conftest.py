"""Users with money."""

from typing import Any

import pytest

from tests.support.aliases import NewAccount


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
