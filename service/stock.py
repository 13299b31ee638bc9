"""Stock: callbacks that reserve units of a product, and what became of them."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.bodies import NumericId, Timestamp, parse_custom, read_body
from service.coalesce import Coalescer
from service.database import Database
from service.keys import DATABASE, STORE_ID

RESERVE_STOCK_BATCH = text(
    "SELECT * FROM reserve_stock_batch(:store_id, CAST(:reservation_ids AS text[]),"
    " CAST(:requested_at AS timestamptz[]), NULL, NULL, CAST(:product_ids AS text[]),"
    " CAST(:quantities AS bigint[]))"
)
RESERVATION_STATUS = text("SELECT * FROM reservation_status(:store_id, :reservation_id)")


class Callback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /reserve: hold `quantity` units of a product for good."""

    reservation_id: NumericId
    product_id: NumericId
    quantity: Annotated[int, msgspec.Meta(ge=1, le=2147483647)]
    timestamp: Timestamp


CALLBACK = msgspec.json.Decoder(Callback, dec_hook=parse_custom)

RESERVATIONS = web.AppKey("RESERVATIONS", Coalescer[Callback, Any])

routes = web.RouteTableDef()


@routes.post("/reserve")
async def reserve(request: web.Request) -> web.Response:
    """Reserve stock, once per reservation id: a repeat answers the same."""
    callback = await read_body(request, CALLBACK)
    store_id = request[STORE_ID]
    answer = await request.app[RESERVATIONS].submit(store_id, callback.product_id, callback)
    ids: dict[str, Any] = {"reservation_id": callback.reservation_id}
    if results.RESULTS[answer.result_code].status >= 400:
        ids |= {"store_id": store_id, "product_id": callback.product_id}
    if answer.result_code == "insufficient_stock":
        ids |= msgspec.json.decode(answer.refused_lines)[0]
    return results.respond(answer.result_code, **ids)


@routes.get("/reserve/{reservation_id}")
async def reservation_status(request: web.Request) -> web.Response:
    """What became of a reservation of one line."""
    ids = {
        "store_id": request[STORE_ID],
        "reservation_id": request.match_info["reservation_id"],
    }
    row = await request.app[DATABASE].read(RESERVATION_STATUS, **ids)
    if row.result_code == "ok":
        return results.json_response(row.document)
    return results.respond(row.result_code, **ids)


def reservation_coalescer(database: Database) -> Coalescer[Callback, Any]:
    """The coalescer that all reservations of this process go through."""

    async def send(store_id: str, callbacks: Sequence[Callback]) -> Sequence[Any]:
        return await database.rows(
            RESERVE_STOCK_BATCH,
            {
                "store_id": store_id,
                "reservation_ids": [callback.reservation_id for callback in callbacks],
                "requested_at": [callback.timestamp for callback in callbacks],
                "product_ids": [callback.product_id for callback in callbacks],
                "quantities": [callback.quantity for callback in callbacks],
            },
        )

    return Coalescer(send)
