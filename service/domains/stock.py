"""Stock: what comes in, what goes out, what is there, and what was."""

from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
from service.logs import REQUEST_ID
from service.web import responses
from service.web.bodies import OutsideId, Quantity, Timestamp
from service.web.context import CALLER, DATABASE, STORE_ID
from service.web.routing import API, OPERATORS, Routes

STORE_REPORT = text("SELECT * FROM store_report(:store_id)")
PAST_REPORT = text("SELECT * FROM past_report(:store_id, :at)")
CHANGE_STOCK = text(
    "SELECT * FROM change_stock(:store_id, :operation, CAST(:product_ids AS text[]),"
    " CAST(:quantities AS bigint[]), :reference, :actor)"
)
CLEAN_STORE = text("SELECT * FROM clean_store(:store_id, :reference, :actor)")
LIST_MOVEMENTS = text("SELECT * FROM list_movements(:store_id, :after, :limit)")
Operation = Literal["supply", "demand"]


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units of one item."""

    item_id: OutsideId
    quantity: Quantity


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /stores/{id}: bring units of one item in, or take them out."""

    operation: Operation
    item_id: OutsideId
    quantity: Quantity


class GroupChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /stores/{id}/group_op: the same for several items, all or none."""

    operation: Operation
    items: Annotated[list[Item], msgspec.Meta(min_length=1, max_length=1000)]


class ReportQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /stores/{id}: now, or as it was."""

    as_of: Timestamp | None = None


class MovementsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /stores/{id}/movements: what came after a position."""

    after: Annotated[int, msgspec.Meta(ge=0, le=9223372036854775807)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


routes = Routes(API)


@routes.get("/stores/{store_id}", OPERATORS, scope="stock", query=ReportQuery, opens=True)
async def read_store(request: web.Request, query: ReportQuery) -> web.Response:
    """What a store has of each item that is not at zero; `as_of`: what it had at that time."""
    at = query.as_of
    store_id = request[STORE_ID]
    if at is None:
        row = await request.app[DATABASE].read(STORE_REPORT, store_id=store_id)
    else:
        row = await request.app[DATABASE].read(PAST_REPORT, store_id=store_id, at=at)
    return responses.respond(row, store_id=store_id)


@routes.post("/stores/{store_id}", OPERATORS, scope="stock", body=Change, opens=True)
async def change_item(request: web.Request, change: Change) -> web.Response:
    """Bring units of an item in (supply) or take them out (demand)."""
    return await _change(request, change.operation, [Item(change.item_id, change.quantity)])


@routes.post("/stores/{store_id}/group_op", OPERATORS, scope="stock", body=GroupChange, opens=True)
async def change_items(request: web.Request, change: GroupChange) -> web.Response:
    """Bring several items in or take them out: all or none, repeated ones summed."""
    return await _change(request, change.operation, change.items)


@routes.post("/stores/{store_id}/clean", OPERATORS, scope="stock", opens=True)
async def clean_store(request: web.Request) -> web.Response:
    """Write off all that is not reserved; the report is what remains."""
    store_id = request[STORE_ID]
    row = await request.app[DATABASE].call(CLEAN_STORE, store_id=store_id, **_who(request))
    return responses.respond(row, store_id=store_id)


@routes.get(
    "/stores/{store_id}/movements", OPERATORS, scope="stock", query=MovementsQuery, opens=True
)
async def list_movements(request: web.Request, query: MovementsQuery) -> web.Response:
    """The ledger after a position, oldest first; `next` is the `after` to go on from."""
    page = msgspec.structs.asdict(query)
    store_id = request[STORE_ID]
    row = await request.app[DATABASE].call(LIST_MOVEMENTS, store_id=store_id, **page)
    return responses.respond(row, store_id=store_id)


async def _change(request: web.Request, operation: Operation, items: list[Item]) -> web.Response:
    row = await request.app[DATABASE].call(
        CHANGE_STOCK,
        store_id=request[STORE_ID],
        operation=operation,
        product_ids=[item.item_id for item in items],
        quantities=[item.quantity for item in items],
        **_who(request),
    )
    ids: dict[str, Any] = {"store_id": request[STORE_ID]}
    if row.refused_items:
        refused = msgspec.json.decode(row.refused_items)
        first = refused[0]
        detail = results.RESULTS[row.result_code].detail.format(
            product_id=first["item_id"], **first
        )
        return responses.respond_code(row.result_code, detail, **ids, **first, items=refused)
    return responses.respond(row, **ids)


def _who(request: web.Request) -> dict[str, str]:
    """What the ledger says of a change: for which request, and who sent it."""
    return {"reference": REQUEST_ID.get(), "actor": request[CALLER].name}
