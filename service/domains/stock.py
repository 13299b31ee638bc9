"""Stock: what comes in, what goes out, what is there, and what was."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.database.pool import Database, Kept
from service.jobs import Job, done_by, found_by
from service.logs import REQUEST_ID
from service.settings import Settings
from service.web import responses
from service.web.bodies import OutsideId, Quantity, Timestamp
from service.web.context import CALLER, STORE_ID, call, doubted, read
from service.web.routing import API, OPERATORS, Routes
from service.web.stock_lane import Answer, answers_of, call_together

READ_STORE = text("SELECT * FROM read_store(:store_id, :at, :after, :limit)")
MOVE_STOCK = text(
    "SELECT * FROM move_stock(:store_id, :operation, CAST(:product_ids AS text[]),"
    " CAST(:quantities AS bigint[]), :reference, :actor)"
)
MOVE_STOCK_BATCH = text(
    "SELECT * FROM move_stock_batch(:store_id, CAST(:operations AS text[]),"
    " CAST(:references AS text[]), CAST(:actors AS text[]), NULL,"
    " CAST(:product_ids AS text[]), CAST(:quantities AS bigint[]))"
)
CLEAN_STORE = text("SELECT * FROM clean_store(:store_id, :reference, :actor)")
LIST_MOVEMENTS = text("SELECT * FROM list_movements(:store_id, :after, :limit)")
LIST_ITEM_MOVEMENTS = text(
    "SELECT * FROM list_item_movements(:store_id, :product_id, :after, :limit)"
)
FIND_LOW_STOCK = text("SELECT * FROM find_low_stock()")
ANNOUNCE_LOW_STOCK = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM announce_low_stock(:store_id, :limit)"
)
LOOK_FOR_LOW_EVERY = 3.0
"""A look takes about 2.5 us for each product that is watched: a quarter of a second for 100,000."""

MAY_HAVE_MOVED = (
    "The connection was lost after sending. Repeating could move the units twice: see "
    "GET /stores/{store_id}/movements first. With an Idempotency-Key a repeat is safe."
)

Operation = Literal["supply", "demand"]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]


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


class StoreQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /stores/{id}: now, or as it was; all at once, or a page."""

    as_of: Timestamp | None = None
    after: str | None = None
    limit: Limit | None = None


class MovementsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /stores/{id}/movements: what came after a position."""

    after: Annotated[int, msgspec.Meta(ge=0, le=9223372036854775807)] = 0
    limit: Limit = 100


class ItemMovementsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /stores/{id}/items/{item_id}/movements: which page."""

    after: Annotated[int, msgspec.Meta(ge=1, le=9223372036854775807)] | None = None
    limit: Limit = 100


class Level(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much there is of an item: on hand, promised to holds, and left for the next caller."""

    item_id: str
    quantity: int
    reserved: int
    available: int


class Levels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some or all items of a store, by id."""

    store_id: str
    report: list[Level]


class StoreReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a store has; of a page also `next`, the `after` of the one that follows, or null."""

    store: Levels
    next: str | msgspec.UnsetType | None = msgspec.UNSET


class Movement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the ledger."""

    position: int
    item_id: str
    delta: int
    quantity_after: int
    reason: str
    reference: str | None
    """What it was done for: a request, a reservation, a purchase."""
    actor: str
    created_at: datetime


class Movements(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ledger after a position, oldest first; `next` is the `after` to go on from, at once or
    later."""

    movements: list[Movement]
    next: int


class ItemMovement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of one item's ledger; `number` counts from 1."""

    number: int
    delta: int
    quantity_after: int
    reason: str
    reference: str | None
    actor: str
    created_at: datetime


class ItemMovements(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item's ledger, newest first; `next` is the `after` of the page that follows, or null."""

    movements: list[ItemMovement]
    next: int | None


class Requested(NamedTuple):
    """What move_stock_batch is asked for one change."""

    change: Change
    reference: str
    actor: str


MOVE_CODES = ("ok", "insufficient_stock", "unknown_product", "unknown_store", "invalid_request")

routes = Routes(API)


def jobs(settings: Settings) -> list[Job]:
    """Webhooks are told of products that have become low, within five seconds."""
    find, announce = found_by(FIND_LOW_STOCK), done_by(ANNOUNCE_LOW_STOCK)
    return [Job("low stock", find, announce, LOOK_FOR_LOW_EVERY)]


@routes.get(
    "/stores/{store_id}",
    OPERATORS,
    scope="stock",
    query=StoreQuery,
    answer=StoreReport,
    codes=("ok", "unknown_store", "too_many_items"),
    opens=True,
)
async def read_store(request: web.Request, query: StoreQuery) -> web.Response:
    """What a store has of each item that is not at zero; `as_of`: what it had at that time.

    All at once up to 100,000 items; page by page, with `limit` and `after`, of any store.
    """
    store_id = request[STORE_ID]
    page = {"at": query.as_of, "after": query.after, "limit": query.limit}
    row = await read(request, READ_STORE, store_id=store_id, **page)
    return responses.respond(row, store_id=store_id)


@routes.post(
    "/stores/{store_id}",
    OPERATORS,
    scope="stock",
    body=Change,
    answer=StoreReport,
    codes=MOVE_CODES,
    opens=True,
)
async def move_item(request: web.Request, change: Change) -> web.Response:
    """Bring units of an item in (supply) or take them out (demand)."""
    requested = Requested(change, **_context(request))
    with doubted(request, MAY_HAVE_MOVED):
        (answer,) = await call_together(request, _move_together, [change.item_id], [requested])
    return responses.respond(answer, store_id=request[STORE_ID])


@routes.post(
    "/stores/{store_id}/group_op",
    OPERATORS,
    scope="stock",
    body=GroupChange,
    answer=StoreReport,
    codes=MOVE_CODES,
    opens=True,
)
async def move_items(request: web.Request, change: GroupChange) -> web.Response:
    """Bring several items in or take them out: all or none, repeated ones summed."""
    store_id = request[STORE_ID]
    with doubted(request, MAY_HAVE_MOVED):
        row = await call(
            request,
            MOVE_STOCK,
            store_id=store_id,
            operation=change.operation,
            product_ids=[item.item_id for item in change.items],
            quantities=[item.quantity for item in change.items],
            **_context(request),
        )
    return responses.respond(row, store_id=store_id)


@routes.post(
    "/stores/{store_id}/clean",
    OPERATORS,
    scope="stock",
    answer=StoreReport,
    codes=("ok", "too_many_at_once", "unknown_store"),
    opens=True,
)
async def clean_store(request: web.Request) -> web.Response:
    """Write off all that is not reserved; the report is what remains."""
    store_id = request[STORE_ID]
    row = await call(request, CLEAN_STORE, store_id=store_id, **_context(request))
    return responses.respond(row, store_id=store_id)


@routes.get(
    "/stores/{store_id}/movements",
    OPERATORS,
    scope="stock",
    query=MovementsQuery,
    answer=Movements,
    codes=("ok", "unknown_store"),
    opens=True,
)
async def list_movements(request: web.Request, query: MovementsQuery) -> web.Response:
    """The ledger after a position, oldest first; `next` is the `after` to go on from."""
    store_id = request[STORE_ID]
    page = msgspec.structs.asdict(query)
    row = await call(request, LIST_MOVEMENTS, store_id=store_id, **page)
    return responses.respond(row, store_id=store_id)


@routes.get(
    "/stores/{store_id}/items/{item_id}/movements",
    OPERATORS,
    scope="stock",
    query=ItemMovementsQuery,
    answer=ItemMovements,
    codes=("ok", "unknown_product", "unknown_store"),
    opens=True,
)
async def list_item_movements(request: web.Request, query: ItemMovementsQuery) -> web.Response:
    """What changed an item's stock, newest first: `after`, `limit`; `next` is the next `after`."""
    ids = {"store_id": request[STORE_ID], "item_id": request.match_info["item_id"]}
    row = await read(
        request,
        LIST_ITEM_MOVEMENTS,
        store_id=ids["store_id"],
        product_id=ids["item_id"],
        after=query.after,
        limit=query.limit,
    )
    return responses.respond(row, **ids)


async def _move_together(
    connection: Database | Kept, store_id: str, changes: Sequence[Requested]
) -> Sequence[Answer]:
    """Ask move_stock_batch for all of them: one answer per change, in order."""
    row = await connection.call(
        MOVE_STOCK_BATCH,
        store_id=store_id,
        operations=[each.change.operation for each in changes],
        references=[each.reference for each in changes],
        actors=[each.actor for each in changes],
        product_ids=[each.change.item_id for each in changes],
        quantities=[each.change.quantity for each in changes],
    )
    return answers_of(row)


def _context(request: web.Request) -> dict[str, str]:
    """What the ledger says of a change: for which request, and who sent it."""
    return {"reference": REQUEST_ID.get(), "actor": request[CALLER].name}
