"""The server under test, and the databases that it runs on."""

import os
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from aiohttp.test_utils import TestServer
from aiohttp.web_runner import BaseRunner

from service.web.protocol import Runner

# Copying files takes a checkpoint, which is dear only where a server not ours syncs them to disk.
STRATEGY = "wal_log" if os.environ.get("HOLDFAST_TEST_DATABASE_URL") else "file_copy"


class RealServer(TestServer):
    """aiohttp's test server, running what `serve` runs."""

    async def _make_runner(self, **kwargs: Any) -> BaseRunner:
        return Runner(self.app)


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path="/" + name))
