"""What handlers find on the application and on a request, by typed keys."""

from aiohttp import web

from service.database.pool import Database
from service.settings import Settings

SETTINGS = web.AppKey("SETTINGS", Settings)
DATABASE = web.AppKey("DATABASE", Database)
STORE_ID = web.RequestKey("STORE_ID", str)
"""The store that a request is about: of its path, else the default one."""
