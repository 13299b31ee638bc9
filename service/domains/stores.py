"""Stores: the tenants, and what people call them."""

from typing import Annotated

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.web import responses
from service.web.bodies import OutsideId
from service.web.context import DATABASE, STORE_ID
from service.web.routing import ADMINS, API, Routes

NAME_STORE = text("SELECT * FROM name_store(:store_id, :name)")


class StoreName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT /stores/{id}: what people call the store."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""


routes = Routes(API)


@routes.put("/stores/{store_id}", ADMINS, scope="admin", body=StoreName, opens=True)
async def name_store(request: web.Request, body: StoreName) -> web.Response:
    """Create a store (201), or rename it (200)."""
    OutsideId.check("store_id", request[STORE_ID])
    row = await request.app[DATABASE].call(NAME_STORE, store_id=request[STORE_ID], name=body.name)
    return responses.respond(row)
