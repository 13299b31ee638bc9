"""A Bot API server on loopback: it speaks Telegram's protocol and does what a test tells it to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

TOKEN = "4711:secret-of-the-bot"
CHAT = "1001"

Answer = tuple[int, dict[str, Any]]


class Call(NamedTuple):
    """A method that the bot called."""

    method: str
    fields: dict[str, Any]
    document: tuple[str, bytes] | None
    at: float


def failure(code: int, description: str, **parameters: int) -> Answer:
    """An error in Telegram's shape."""
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return code, body | ({"parameters": parameters} if parameters else {})


FLOOD = failure(429, "Too Many Requests: retry after 2", retry_after=2)
BLOCKED = failure(403, "Forbidden: bot was blocked by the user")
NO_CHAT = failure(400, "Bad Request: chat not found")
BROKEN = failure(502, "Bad Gateway")
NONSENSE: Answer = (200, {"hello": "there"})


class BotApi:
    """What was called; `answers` are given to the next calls, then all succeed."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self.answers: list[Answer] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._changed = asyncio.Condition()

    @property
    def texts(self) -> list[str]:
        """Of all messages that arrived, also of those that were refused."""
        return [call.fields["text"] for call in self.calls if call.method == "sendMessage"]

    async def gets(self, count: int = 1, *, seconds: float = 60.0) -> list[Call]:
        """Wait until so many calls have come; all of them."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= count)
        return self.calls

    async def handle(self, request: web.Request) -> web.Response:
        """Any method of the bot."""
        if request.match_info["token"] != TOKEN:
            code, body = failure(401, "Unauthorized")
            return web.json_response(body, status=code)
        fields, document = await _read(request)
        async with self._changed:
            self.calls.append(
                Call(request.match_info["method"], fields, document, time.monotonic())
            )
            self._changed.notify_all()
        await self.may_answer.wait()
        if self.answers:
            code, body = self.answers.pop(0)
            return web.json_response(body, status=code)
        chat = {"id": int(fields["chat_id"]), "type": "private"}
        message = {"message_id": len(self.calls), "date": int(time.time()), "chat": chat}
        if document:
            message["document"] = {"file_id": "f", "file_unique_id": "u", "file_name": document[0]}
        else:
            message["text"] = fields["text"]
        return web.json_response({"ok": True, "result": message})


async def _read(request: web.Request) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """The parameters of a call, as JSON or as a form, and its file."""
    if request.content_type == "application/json":
        return await request.json(), None
    fields: dict[str, Any] = {}
    files: dict[str, tuple[str, bytes]] = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            files[name] = (value.filename, value.file.read())
        else:
            fields[name] = value
    if "document" not in fields:
        return fields, files.get("document")
    return fields, files[fields["document"].removeprefix("attach://")]


@asynccontextmanager
async def bot_api() -> AsyncIterator[BotApi]:
    """A Bot API server for the time being."""
    api = BotApi()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/bot{token}/{method}", api.handle)
    server = TestServer(app)
    await server.start_server()
    api.url = str(server.make_url("")).rstrip("/")
    try:
        yield api
    finally:
        api.may_answer.set()
        await server.close()
