"""Which URL a command works on: of the server configured, or of one of our own."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.connections import dial
from service.database.embedded.files import Urls
from service.database.embedded.server import borrowed
from service.settings import Settings


@asynccontextmanager
async def service_url(settings: Settings) -> AsyncIterator[str]:
    """The service's own URL, which need not be the owner's."""
    if settings.database_url:
        yield settings.database_url
        return
    async with _ours(settings) as urls:
        yield urls.service


@asynccontextmanager
async def owner_url(settings: Settings) -> AsyncIterator[str]:
    """The owner's URL: of the server configured, of our running service's, or of one for now."""
    if settings.owner_url:
        yield settings.owner_url
        return
    async with _ours(settings) as urls:
        yield urls.owner


@asynccontextmanager
async def _ours(settings: Settings) -> AsyncIterator[Urls]:
    """Our own server, with a schema in it: whatever command comes first on an empty folder.

    What migrates is imported only here: a command on a server that is configured starts 0.2 s
    earlier without it.
    """
    from service.database.migrate import state_of
    from service.database.prepare import set_up

    async with borrowed(settings.data_dir) as urls:
        connection = await dial(urls.owner)
        state = await state_of(connection)
        await connection.close()
        if not state.installed:
            print(f"Setting up the database in {settings.data_dir} …", file=sys.stderr)
            await set_up(settings, urls.owner)
        yield urls
