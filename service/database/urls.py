"""Which URL a command works on: of the server configured, or of one of our own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.database.embedded.server import borrowed
from service.settings import Settings


@asynccontextmanager
async def service_url(settings: Settings) -> AsyncIterator[str]:
    """The service's own URL, which need not be the owner's."""
    if settings.database_url:
        yield settings.database_url
        return
    async with borrowed(settings.data_dir) as urls:
        yield urls.service


@asynccontextmanager
async def owner_url(settings: Settings) -> AsyncIterator[str]:
    """The owner's URL: of the server configured, of our running service's, or of one for now."""
    if settings.owner_url:
        yield settings.owner_url
        return
    async with borrowed(settings.data_dir) as urls:
        yield urls.owner
