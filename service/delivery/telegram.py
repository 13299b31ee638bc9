"""Telegram: the daily report of a store, as text and as a workbook, to the one chat.

A report is first put into parts, messages of their own, so that one that fails does not repeat
the others. aiogram takes seconds and many megabytes to import: only who sends imports this.
"""

from typing import Protocol

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    AiogramError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramRetryAfter,
)
from aiogram.types import BufferedInputFile, LinkPreviewOptions

from service.database.pool import Database
from service.delivery import Channel, Message, Payload, Postponed, Receipt, Undeliverable
from service.settings import Settings

LONGEST_TEXT = 4096
"""UTF-16 code units of one message."""
MOST_TEXTS = 10
"""Messages of text per report; the rest of a long one is only in its file."""
SECONDS = 40
"""For one request, an upload included."""

FOR_GOOD = (
    TelegramForbiddenError,  # the bot was blocked or thrown out
    TelegramBadRequest,  # no such chat
    TelegramMigrateToChat,  # the group has another number now
    TelegramEntityTooLarge,
)

NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


class Reports(Protocol):
    """Where a store's report comes from."""

    async def texts(self, store_id: str, longest: int, most: int) -> list[str]:
        """At most `most` texts of at most `longest` UTF-16 code units each."""

    async def workbook(self, store_id: str) -> tuple[str, bytes]:
        """A file's name and its content."""


class Telegram(Channel):
    """The bot, and the chat it writes to. Payloads: kind report, text {text} or workbook."""

    name = "telegram"

    def __init__(self, settings: Settings, reports: Reports) -> None:
        self._settings, self._reports = settings, reports
        server = TelegramAPIServer.from_base(settings.telegram_api_url)
        self._bot = Bot(
            settings.telegram_bot_token, session=AiohttpSession(api=server, timeout=SECONDS)
        )

    async def deliver(self, message: Message, database: Database) -> Receipt:
        """Send a text or a workbook; put a report into its parts."""
        if message.payload == {"kind": "report"}:
            return Receipt(parts=await self._parts(message.store_id))
        await self._send(message.store_id, message.payload)
        return Receipt()

    async def send_report(self, store_id: str) -> None:
        """Send a store's report now, past the outbox; raises as deliver does."""
        for payload in await self._parts(store_id):
            await self._send(store_id, payload)

    async def _parts(self, store_id: str) -> list[Payload]:
        texts = await self._reports.texts(store_id, LONGEST_TEXT, MOST_TEXTS)
        return [*({"kind": "text", "text": text} for text in texts), {"kind": "workbook"}]

    async def _send(self, store_id: str, payload: Payload) -> None:
        try:
            match payload:
                case {"kind": "text", "text": text}:
                    await self._send_text(text)
                case {"kind": "workbook"}:
                    await self._send_workbook(store_id)
                case _:
                    raise Undeliverable("Telegram has no messages of this kind")
        except TelegramRetryAfter as error:
            raise Postponed(self._told(error), error.retry_after) from None
        except FOR_GOOD as error:
            raise Undeliverable(self._told(error)) from None
        except AiogramError as error:
            raise ConnectionError(self._told(error)) from None

    async def _send_text(self, text: str) -> None:
        # No parse_mode: an item's name is text, whatever it holds.
        chat_id = self._settings.telegram_chat_id
        await self._bot.send_message(
            chat_id, text, parse_mode=None, link_preview_options=NO_PREVIEW
        )

    async def _send_workbook(self, store_id: str) -> None:
        name, content = await self._reports.workbook(store_id)
        document = BufferedInputFile(content, name)
        await self._bot.send_document(self._settings.telegram_chat_id, document)

    def _told(self, error: Exception) -> str:
        """What an error says, on one line, without the token, which is a part of every URL."""
        return " ".join(str(error).split()).replace(self._settings.telegram_bot_token, "TOKEN")

    async def close(self) -> None:
        """Close the bot's connections."""
        await self._bot.session.close()
