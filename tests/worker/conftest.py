"""The worker in this process, or in one of its own, and the Telegram that it talks to."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.delivery.telegram import Telegram as Telegram  # takes seconds, before any test
from tests.support.aliases import Emit
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
