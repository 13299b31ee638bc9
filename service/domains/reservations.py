"""Reservations of stock — callbacks for good, holds with lines and a lifetime."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from aiohttp import web
from sqlalchemy import TextClause, text

from service import results
from service.database.coalesce import Coalescer
from service.database.pool import Database
from service.web import responses
from service.web.bodies import (
    NumericId,
    OutsideId,
    Quantity,
    Timestamp,
    parse_custom,
    read_body,
    read_query,
    refuse_field,
)
from service.web.context import DATABASE, SETTINGS, STORE_ID
from service.web.idempotency import KEY_HEADER
from service.web.routing import CALLER, OPERATORS, Routes

# For the driver, see Database.call_driver. Answers as two arrays: rows cost more than elements.
RESERVE_STOCK_BATCH = (
    "SELECT array_agg(result_code ORDER BY number), array_agg(refused_lines ORDER BY number)"
    " FROM reserve_stock_batch($1, $2::text[], $3::timestamptz[], $4::interval[], $5::int[],"
    " $6::text[], $7::bigint[])"
    " WITH ORDINALITY AS answers (result_code, refused_lines, number)"
)
RESERVATION_STATUS = text("SELECT * FROM reservation_status(:store_id, :reservation_id)")
READ_RESERVATION = text("SELECT * FROM read_reservation(:store_id, :reservation_id)")
LIST_RESERVATIONS = text(
    "SELECT * FROM list_reservations(:store_id, :status, :product_id, :after, :limit)"
)
COMMIT_RESERVATION = text("SELECT * FROM commit_reservation(:store_id, :reservation_id)")
RELEASE_RESERVATION = text("SELECT * FROM release_reservation(:store_id, :reservation_id)")
EXTEND_RESERVATION = text(
    "SELECT * FROM extend_reservation(:store_id, :reservation_id, :ttl, :max_lifetime)"
)

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
    """GET /reservations: which, and which page."""

    status: Literal["held", "committed", "released", "expired"] | None = None
    product_id: str | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Answer(NamedTuple):
    """What reserve_stock_batch answers for one reservation; the lines in the way as JSON."""

    result_code: str
    refused_lines: str | None


class Request(NamedTuple):
    """What reserve_stock_batch is asked for one reservation."""

    reservation_id: str
    requested_at: datetime | None
    ttl: timedelta | None
    lines: Sequence[Callback | Line]


CALLBACK = msgspec.json.Decoder(Callback, dec_hook=parse_custom)
CALLBACKS = msgspec.json.Decoder(
    Annotated[list[Callback], msgspec.Meta(min_length=1, max_length=1000)], dec_hook=parse_custom
)
NEW_HOLD = msgspec.json.Decoder(NewHold, dec_hook=parse_custom)
EXTENSION = msgspec.json.Decoder(Extension, dec_hook=parse_custom)

RESERVATIONS = web.AppKey("RESERVATIONS", Coalescer[Request, Answer])
BATCHES = web.AppKey("BATCHES", Coalescer[Sequence[Request], Sequence[Answer]])

routes = Routes()


@routes.post("/reserve", OPERATORS)
async def reserve(request: web.Request) -> web.Response:
    """Reserve stock, once per reservation id: a repeat answers the same."""
    callback = await read_body(request, CALLBACK)
    store_id = request[STORE_ID]
    answer = await request.app[RESERVATIONS].submit(
        store_id, callback.product_id, _of_callback(callback)
    )
    ids: dict[str, Any] = {"reservation_id": callback.reservation_id}
    if results.is_error(answer.result_code):
        ids |= {"store_id": store_id, "product_id": callback.product_id}
    if answer.result_code == "insufficient_stock":
        ids |= msgspec.json.decode(answer.refused_lines or "[{}]")[0]
    return responses.respond(answer.result_code, **ids)


@routes.post("/reserve/batch", OPERATORS)
async def reserve_batch(request: web.Request) -> web.Response:
    """Reserve for 1-1000 callbacks in one transaction, each answered on its own, in order."""
    callbacks = await read_body(request, CALLBACKS)
    answers = await request.app[BATCHES].submit(
        request[STORE_ID], "", [_of_callback(each) for each in callbacks]
    )
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


@routes.get("/reserve/{reservation_id}", OPERATORS)
async def reservation_status(request: web.Request) -> web.Response:
    """What became of a reservation of one line."""
    ids = _ids(request)
    row = await request.app[DATABASE].read(RESERVATION_STATUS, **ids)
    return responses.respond_document(row, **ids)


@routes.post("/reservations", OPERATORS)
async def create_reservation(request: web.Request) -> web.Response:
    """Hold every line or none; 201, or 200 for a repeat while it is held or committed."""
    hold = await read_body(request, NEW_HOLD)
    if (hold.ttl_seconds or 0) > request.app[SETTINGS].max_hold_seconds:
        raise refuse_field("ttl_seconds", "Longer than a hold may live here")
    store_id = request[STORE_ID]
    wanted = Request(
        hold.reservation_id or make_id(request),
        None,
        timedelta(seconds=hold.ttl_seconds) if hold.ttl_seconds else None,
        hold.lines,
    )
    if len(hold.lines) == 1:
        key = hold.lines[0].product_id
        answer = await request.app[RESERVATIONS].submit(store_id, key, wanted)
    else:
        (answer,) = await _send(request.app[DATABASE], store_id, [wanted])
    ids = {"store_id": store_id, "reservation_id": wanted.reservation_id}
    if results.is_error(answer.result_code):
        lines = msgspec.json.decode(answer.refused_lines or "[]")
        first = lines[0] if lines else {}
        return responses.respond(answer.result_code, **first, **ids, lines=lines)
    row = await request.app[DATABASE].read(READ_RESERVATION, **ids)
    return responses.json_response(
        row.document, 201 if answer.result_code == "ok" else 200, answer.result_code
    )


@routes.get("/reservations", OPERATORS)
async def list_reservations(request: web.Request) -> web.Response:
    """Reservations by id: `status`, `product_id`, `after`, `limit`; `next` is the next `after`."""
    query = read_query(request, ListQuery)
    parameters = {"store_id": request[STORE_ID], **msgspec.structs.asdict(query)}
    row = await request.app[DATABASE].read(LIST_RESERVATIONS, **parameters)
    return responses.respond_document(row, store_id=request[STORE_ID])


@routes.get("/reservations/{reservation_id}", OPERATORS)
async def read_reservation(request: web.Request) -> web.Response:
    """A reservation with its lines."""
    ids = _ids(request)
    row = await request.app[DATABASE].read(READ_RESERVATION, **ids)
    return responses.respond_document(row, **ids)


@routes.post("/reservations/{reservation_id}/commit", OPERATORS)
async def commit_reservation(request: web.Request) -> web.Response:
    """The goods leave, once: on_hand falls. A repeat answers 200."""
    return await _resolve(request, COMMIT_RESERVATION)


@routes.post("/reservations/{reservation_id}/release", OPERATORS)
async def release_reservation(request: web.Request) -> web.Response:
    """Give the units back, once. A repeat answers 200."""
    return await _resolve(request, RELEASE_RESERVATION)


@routes.post("/reservations/{reservation_id}/extend", OPERATORS)
async def extend_reservation(request: web.Request) -> web.Response:
    """Live for that long from now, never shorter than it was, up to the longest a hold may."""
    extension = await read_body(request, EXTENSION)
    return await _resolve(
        request,
        EXTEND_RESERVATION,
        ttl=timedelta(seconds=extension.ttl_seconds),
        max_lifetime=timedelta(seconds=request.app[SETTINGS].max_hold_seconds),
    )


def make_id(request: web.Request) -> str:
    """An id for what came without one: of its Idempotency-Key, if there is one, else random."""
    if key := request.headers.get(KEY_HEADER):
        name = f"{request[STORE_ID]}\n{request[CALLER].name}\n{key}"
        return str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    return str(uuid.uuid4())


def reservation_coalescer(database: Database) -> Coalescer[Request, Answer]:
    """The coalescer that all reservations of one line of this process go through."""

    async def send(store_id: str, requests: Sequence[Request]) -> Sequence[Answer]:
        return await _send(database, store_id, requests)

    return Coalescer(send)


def batch_coalescer(database: Database) -> Coalescer[Sequence[Request], Sequence[Answer]]:
    """One batch of a store after another: two that share products would only wait for each other.

    Each goes as it came, in one call, so that its requests keep their order.
    """

    async def send(
        store_id: str, batches: Sequence[Sequence[Request]]
    ) -> Sequence[Sequence[Answer]]:
        return [await _send(database, store_id, batch) for batch in batches]

    return Coalescer(send, lanes=1, max_batch=1, max_waiting=100)


async def _send(database: Database, store_id: str, requests: Sequence[Request]) -> Sequence[Answer]:
    """Ask reserve_stock_batch for all of them: one answer per request, in order."""
    lines = [
        (number, line.product_id, line.quantity)
        for number, request in enumerate(requests, 1)
        for line in request.lines
    ]
    numbers, product_ids, quantities = (list(column) for column in zip(*lines, strict=True))
    codes, refused_lines = await database.call_driver(
        RESERVE_STOCK_BATCH,
        store_id,
        [request.reservation_id for request in requests],
        [request.requested_at for request in requests],
        [request.ttl for request in requests],
        None if len(lines) == len(requests) else numbers,
        product_ids,
        quantities,
    )
    return list(map(Answer, codes, refused_lines))


async def _resolve(request: web.Request, statement: TextClause, **parameters: Any) -> web.Response:
    ids = _ids(request)
    row = await request.app[DATABASE].call(statement, **ids, **parameters)
    return responses.respond_document(row, **ids)


def _of_callback(callback: Callback) -> Request:
    return Request(callback.reservation_id, callback.timestamp, None, (callback,))


def _ids(request: web.Request) -> dict[str, str]:
    return {
        "store_id": request[STORE_ID],
        "reservation_id": request.match_info["reservation_id"],
    }
