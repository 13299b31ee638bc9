"""Stores: the tenants, and what people call them."""

from typing import Annotated

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.web import responses
from service.web.bodies import OutsideId, parse_custom, read_body
from service.web.context import DATABASE, STORE_ID
from service.web.routing import ADMINS, API, Routes

NAME_STORE = text("SELECT * FROM name_store(:store_id, :name)")


class StoreName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT /stores/{id}: what people call the store."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""


STORE_NAME = msgspec.json.Decoder(StoreName, dec_hook=parse_custom)

routes = Routes(API)


@routes.put("/stores/{store_id}", ADMINS, is_open_in_development=True)
async def name_store(request: web.Request) -> web.Response:
    """Create a store (201), or rename it (200)."""
    OutsideId.check("store_id", request[STORE_ID])
    body = await read_body(request, STORE_NAME)
    row = await request.app[DATABASE].call(NAME_STORE, store_id=request[STORE_ID], name=body.name)
    return responses.respond_document(row)
