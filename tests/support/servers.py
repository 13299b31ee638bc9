"""The server under test, and the databases that it runs on."""

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiohttp.web_runner import BaseRunner

from service.web.bodies import parse_custom
from service.web.context import ROUTES
from service.web.protocol import Runner

# Copying files takes a checkpoint, which is dear only where a server not ours syncs them to disk.
STRATEGY = "wal_log" if os.environ.get("HOLDFAST_TEST_DATABASE_URL") else "file_copy"


WRONG_ANSWERS: list[str] = []
"""Success documents of this test that are not as their route declares."""


async def compare_answer(request: web.Request, response: web.StreamResponse) -> None:
    """Hold an answer against the type that its route declares."""
    route = request.app[ROUTES].get(request.match_info.handler)
    is_document = isinstance(response, web.Response) and response.status < 300
    if route is None or route.answer is None or not is_document:
        return
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    try:
        msgspec.json.decode(response.body, type=route.answer, dec_hook=parse_custom)
    except (msgspec.DecodeError, TypeError) as error:
        WRONG_ANSWERS.append(f"{route.method} {route.path}: {error}: {response.body!r}")


class RealServer(TestServer):
    """aiohttp's test server, running what `serve` runs; every answer is held to its route."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, **options)
        app.on_response_prepare.append(compare_answer)

    async def _make_runner(self, **kwargs: Any) -> BaseRunner:
        return Runner(self.app)


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path="/" + name))
