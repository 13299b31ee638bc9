"""Targets of webhooks, and a worker that tells them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.aliases import Connect, Hooked
from tests.support.receiver import Receiver, receiver

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
async def target() -> AsyncIterator[Receiver]:
    """A system that is told."""
    async with receiver() as found:
        yield found


@pytest.fixture
async def worker(sql: Any, connect_as: Connect) -> Any:
    """A connection as the worker, to a database with the stores main and other."""
    await sql.execute("SELECT create_store('main'), create_store('other')")
    return await connect_as("worker")


@pytest.fixture
async def hooked(sql: Any) -> Hooked:
    """hooked("http://…", events=["stock.low"]): a target's id."""

    async def create(
        url: str = "http://127.0.0.1:9/",
        *,
        events: list[str] | None = None,
        store_id: str = "main",
        secret: str = SECRET,
    ) -> int:
        await sql.execute("SELECT create_store($1)", store_id)
        row = await sql.fetchrow(
            "SELECT * FROM create_hook($1, $2, $3, $4, 'tests')", store_id, url, events, secret
        )
        assert row["result_code"] == "created"
        return int(json.loads(row["document"])["hook_id"])

    return create
