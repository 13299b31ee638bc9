"""The worker in this process, or in one of its own, and the Telegram that it talks to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.delivery.telegram import Telegram as Telegram  # takes seconds, before any test
from service.settings import Settings
from service.worker import run_worker
from tests.support.aliases import Emit, Run
from tests.support.bot_api import CHAT, TOKEN, BotApi, bot_api


@pytest.fixture
async def telegram() -> AsyncIterator[BotApi]:
    """A Bot API server."""
    async with bot_api() as api:
        yield api


@pytest.fixture
def bot(telegram: BotApi) -> dict[str, str]:
    """The settings of a bot that talks to it."""
    return {
        "telegram_bot_token": TOKEN,
        "telegram_chat_id": CHAT,
        "telegram_api_url": telegram.url,
    }


@pytest.fixture
def working(dsn: str) -> Run:
    """async with working(report_time=…): a worker works meanwhile."""

    @asynccontextmanager
    async def work(database_url: str = dsn, **settings: Any) -> AsyncIterator[None]:
        stop = asyncio.Event()
        worker = asyncio.create_task(run_worker(Settings(**settings), database_url, stop))
        try:
            yield
        finally:
            stop.set()
            await worker

    return work


@pytest.fixture
async def emit(sql: Any) -> Emit:
    """emit("a", "b"): messages to Telegram, of the store main; their ids."""
    await sql.execute("SELECT create_store('main')")

    async def emit_texts(*texts: str) -> list[int]:
        payloads = [json.dumps({"kind": "text", "text": text}) for text in texts]
        rows = await sql.fetch(
            "SELECT emit_message('main', 'telegram', payload::jsonb)"
            " FROM unnest($1::text[]) AS payload",
            payloads,
        )
        return [row[0] for row in rows]

    return emit_texts
