"""Reservations of stock — callbacks for good, holds with lines and a lifetime."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from aiohttp import web
from sqlalchemy import TextClause, text

from service import results
from service.database.coalesce import Function
from service.database.pool import Database, Kept
from service.jobs import Job, done_by, found_by
from service.settings import Settings
from service.web import responses
from service.web.bodies import (
    NumericId,
    OutsideId,
    Quantity,
    Timestamp,
)
from service.web.context import CALLER, SETTINGS, STORE_ID, call, ids_of, read
from service.web.routing import OPERATORS, Routes
from service.web.stock_lane import Answer, answers_of, call_together

RESERVE_STOCK_BATCH = text(
    "SELECT * FROM reserve_stock_batch(:store_id, CAST(:reservation_ids AS text[]),"
    " CAST(:actors AS text[]), CAST(:requested_at AS timestamptz[]), CAST(:ttls AS interval[]),"
    " :max_lifetime, CAST(:line_requests AS int[]), CAST(:product_ids AS text[]),"
    " CAST(:quantities AS bigint[]))"
)
FIND_LAPSED_RESERVATIONS = text("SELECT * FROM find_lapsed_reservations()")
EXPIRE_RESERVATIONS = text(
    "SELECT result_code, expired_count AS done FROM expire_reservations(:store_id, :limit)"
)
RESERVATION_STATUS = text("SELECT * FROM reservation_status(:store_id, :reservation_id)")
READ_RESERVATION = text("SELECT * FROM read_reservation(:store_id, :reservation_id)")
LIST_RESERVATIONS = text(
    "SELECT * FROM list_reservations(:store_id, :status, :product_id, :after, :limit)"
)
LATEST_RESERVATIONS = text(
    "SELECT * FROM latest_reservations(:store_id, :status, :product_id, :limit)"
)
COMMIT_RESERVATION = text("SELECT * FROM commit_reservation(:store_id, :reservation_id, :actor)")
RELEASE_RESERVATION = text("SELECT * FROM release_reservation(:store_id, :reservation_id, :actor)")
EXTEND_RESERVATION = text(
    "SELECT * FROM extend_reservation(:store_id, :reservation_id, :ttl, :max_lifetime, :actor)"
)

Status = Literal["held", "committed", "released", "expired"]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=10 * 365 * 86400)]


class Callback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /reserve: hold `quantity` units of a product for good."""

    reservation_id: NumericId
    product_id: NumericId
    quantity: Quantity
    timestamp: Timestamp


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Units of one product."""

    product_id: OutsideId
    quantity: Quantity


class NewHold(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /reservations: hold all lines or none, for `ttl_seconds` or until resolved."""

    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=100)]
    reservation_id: OutsideId | None = None
    ttl_seconds: Seconds | None = None


class Extension(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /reservations/{id}/extend: live for `ttl_seconds` from now."""

    ttl_seconds: Seconds


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /reservations: which, and which page; the newest are no pages."""

    status: Status | None = None
    product_id: str | None = None
    sort: Literal["id", "newest"] = "id"
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Reserved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The units are held."""

    status: Literal["success"]
    message: str
    reservation_id: str


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of one callback of a batch."""

    reservation_id: str
    status: Literal["success", "error"]
    code: str
    message: str


class Outcomes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One outcome per callback, in their order."""

    results: list[Outcome]


class ReservationStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a reservation of one line."""

    reservation_id: str
    product_id: str
    quantity: int
    status: Status
    timestamp: datetime | None
    """As the callback gave it; null for a hold."""
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None


class Reservation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reservation with its lines, by product."""

    reservation_id: str
    kind: Literal["callback", "hold", "order"]
    status: Status
    lines: list[Line]
    timestamp: datetime | None
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None


class Extended(Reservation, frozen=True, forbid_unknown_fields=True):
    """A reservation that was extended."""

    is_shortened: bool
    """Whether it lapses before what was asked for: a hold may not live longer."""


class Reservations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of reservations by id; `next` is the `after` of the page that follows, or null."""

    reservations: list[Reservation]
    next: str | None


class Request(NamedTuple):
    """What reserve_stock_batch is asked for one reservation."""

    reservation_id: str
    actor: str
    requested_at: datetime | None
    ttl: timedelta | None
    lines: Sequence[Callback | Line]


Callbacks = Annotated[list[Callback], msgspec.Meta(min_length=1, max_length=1000)]

RESERVE_CODES = (
    "ok",
    "already_reserved",
    "reservation_closed",
    "reservation_id_reused",
    "insufficient_stock",
    "unknown_product",
    "unknown_store",
    "lifetime_too_long",
    "invalid_request",
)
RESOLVE_CODES = ("reservation_closed", "held_by_order", "unknown_reservation", "unknown_store")

routes = Routes()


def jobs(settings: Settings) -> list[Job]:
    """Lapsed holds are written down as expired, so that all who watch the stock hear of it."""
    return [Job("expiry", found_by(FIND_LAPSED_RESERVATIONS), done_by(EXPIRE_RESERVATIONS))]


@routes.post(
    "/reserve",
    OPERATORS,
    scope="reserve",
    body=Callback,
    answer=Reserved,
    codes=RESERVE_CODES,
    opens=True,
)
async def reserve(request: web.Request, callback: Callback) -> web.Response:
    """Reserve stock, once per reservation id: a repeat answers the same."""
    (answer,) = await _ask(request, [_of_callback(request, callback)])
    ids: dict[str, str] = {"reservation_id": callback.reservation_id}
    if results.is_error(answer.result_code):
        ids |= {"store_id": request[STORE_ID], "product_id": callback.product_id}
        return responses.respond(answer, **ids)
    return responses.respond_code(answer.result_code, **ids)


@routes.post(
    "/reserve/batch",
    OPERATORS,
    scope="reserve",
    body=Callbacks,
    answer=Outcomes,
    codes=RESERVE_CODES,
    opens=True,
)
async def reserve_batch(request: web.Request, callbacks: Callbacks) -> web.Response:
    """Reserve for 1-1000 callbacks in one transaction, each answered on its own, in order."""
    answers = await _ask(request, [_of_callback(request, each) for each in callbacks])
    return responses.json_response(
        {
            "results": [
                {
                    "reservation_id": callback.reservation_id,
                    "status": "error" if results.is_error(answer.result_code) else "success",
                    "code": answer.result_code,
                    "message": results.RESULTS[answer.result_code].message,
                }
                for callback, answer in zip(callbacks, answers, strict=True)
            ]
        }
    )


@routes.get(
    "/reserve/{reservation_id}",
    OPERATORS,
    scope="reserve",
    answer=ReservationStatus,
    codes=("ok", "unknown_reservation", "unknown_store", "several_lines"),
    opens=True,
)
async def reservation_status(request: web.Request) -> web.Response:
    """What became of a reservation of one line."""
    ids = ids_of(request)
    row = await read(request, RESERVATION_STATUS, **ids)
    return responses.respond(row, **ids)


@routes.post(
    "/reservations",
    OPERATORS,
    scope="reserve",
    body=NewHold,
    answer=Reservation,
    codes=("created", *RESERVE_CODES[1:]),
    opens=True,
)
async def create_reservation(request: web.Request, hold: NewHold) -> web.Response:
    """Hold every line or none; 201, or 200 for a repeat while it is held or committed."""
    wanted = Request(
        hold.reservation_id or str(uuid.uuid4()),
        request[CALLER].name,
        None,
        timedelta(seconds=hold.ttl_seconds) if hold.ttl_seconds else None,
        hold.lines,
    )
    (answer,) = await _ask(request, [wanted])
    if answer.result_code == "ok":
        answer = answer._replace(result_code="created")
    ids = {"store_id": request[STORE_ID], "reservation_id": wanted.reservation_id}
    return responses.respond(answer, **ids)


@routes.get(
    "/reservations",
    OPERATORS,
    scope="reserve",
    query=ListQuery,
    answer=Reservations,
    codes=("ok", "unknown_store"),
    opens=True,
)
async def list_reservations(request: web.Request, query: ListQuery) -> web.Response:
    """Reservations by id: `status`, `product_id`, `after`, `limit`; `next` is the next `after`.

    `sort=newest`: the latest ones first, of one state or product among the last few thousand.
    """
    which = {"status": query.status, "product_id": query.product_id, "limit": query.limit}
    which["store_id"] = request[STORE_ID]
    if query.sort == "newest":
        row = await read(request, LATEST_RESERVATIONS, **which)
    else:
        row = await read(request, LIST_RESERVATIONS, **which, after=query.after)
    return responses.respond(row, store_id=request[STORE_ID])


@routes.get(
    "/reservations/{reservation_id}",
    OPERATORS,
    scope="reserve",
    answer=Reservation,
    codes=("ok", "unknown_reservation", "unknown_store"),
    opens=True,
)
async def read_reservation(request: web.Request) -> web.Response:
    """A reservation with its lines."""
    ids = ids_of(request)
    row = await read(request, READ_RESERVATION, **ids)
    return responses.respond(row, **ids)


@routes.post(
    "/reservations/{reservation_id}/commit",
    OPERATORS,
    scope="reserve",
    answer=Reservation,
    codes=("ok", "already_committed", *RESOLVE_CODES),
    opens=True,
)
async def commit_reservation(request: web.Request) -> web.Response:
    """The goods leave, once: on_hand falls. A repeat answers 200."""
    return await _resolve(request, COMMIT_RESERVATION)


@routes.post(
    "/reservations/{reservation_id}/release",
    OPERATORS,
    scope="reserve",
    answer=Reservation,
    codes=("ok", "already_released", *RESOLVE_CODES),
    opens=True,
)
async def release_reservation(request: web.Request) -> web.Response:
    """Give the units back, once. A repeat answers 200."""
    return await _resolve(request, RELEASE_RESERVATION)


@routes.post(
    "/reservations/{reservation_id}/extend",
    OPERATORS,
    scope="reserve",
    body=Extension,
    answer=Extended,
    codes=("ok", "no_expiry", "invalid_request", *RESOLVE_CODES),
    opens=True,
)
async def extend_reservation(request: web.Request, extension: Extension) -> web.Response:
    """Live for that long from now, never shorter than it was, up to the longest a hold may."""
    return await _resolve(
        request,
        EXTEND_RESERVATION,
        ttl=timedelta(seconds=extension.ttl_seconds),
        max_lifetime=_max_lifetime(request.app),
    )


def _max_lifetime(app: web.Application) -> timedelta:
    return timedelta(seconds=app[SETTINGS].max_hold_seconds)


async def _ask(request: web.Request, wanted: Sequence[Request]) -> Sequence[Answer]:
    """The answers to reservations: from one call, with those that wait beside them."""
    product_ids = [line.product_id for each in wanted for line in each.lines]
    function = _reserve_within(_max_lifetime(request.app))
    return await call_together(request, function, product_ids, wanted)


@cache
def _reserve_within(max_lifetime: timedelta) -> Function[Request, Answer]:
    """The one function that all reservations of so long a life at most go to together."""
    return partial(_reserve, max_lifetime=max_lifetime)


async def _reserve(
    connection: Database | Kept,
    store_id: str,
    requests: Sequence[Request],
    *,
    max_lifetime: timedelta,
) -> Sequence[Answer]:
    """Ask reserve_stock_batch for all of them: one answer per request, in order."""
    lines = [
        (number, line.product_id, line.quantity)
        for number, request in enumerate(requests, 1)
        for line in request.lines
    ]
    numbers, product_ids, quantities = (list(column) for column in zip(*lines, strict=True))
    row = await connection.call(
        RESERVE_STOCK_BATCH,
        store_id=store_id,
        reservation_ids=[request.reservation_id for request in requests],
        actors=[request.actor for request in requests],
        requested_at=[request.requested_at for request in requests],
        ttls=[request.ttl for request in requests],
        max_lifetime=max_lifetime,
        line_requests=None if len(lines) == len(requests) else numbers,
        product_ids=product_ids,
        quantities=quantities,
    )
    return answers_of(row)


async def _resolve(request: web.Request, statement: TextClause, **parameters: Any) -> web.Response:
    ids = ids_of(request)
    row = await call(request, statement, **ids, **parameters, actor=request[CALLER].name)
    return responses.respond(row, **ids)


def _of_callback(request: web.Request, callback: Callback) -> Request:
    actor = request[CALLER].name
    return Request(callback.reservation_id, actor, callback.timestamp, None, (callback,))
