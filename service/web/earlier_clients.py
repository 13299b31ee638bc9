"""Earlier clients: the paths of the older services, for programs that were written for them.

One table: SAME are answered as today; all others are adapted here to bodies and answers as they
were. docs/earlier-clients.md says what each takes and answers. Errors have the shape of today.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeVar, Unpack

import msgspec
from aiohttp import web
from sqlalchemy import Row, TextClause, text

from service import domains, results
from service.domains import bookings, feed, sessions, stock
from service.logs import REQUEST_ID
from service.web.auth import AUTH, Grant, digest
from service.web.bodies import (
    GivenPassword,
    Login,
    check_headers,
    convert_fields,
    decode,
    read_bytes,
)
from service.web.context import CALLER, SETTINGS, STORE_ID, call, doubted, read
from service.web.responses import json_response
from service.web.routing import (
    EVERYONE,
    OPERATORS,
    STAFF,
    USERS,
    Audience,
    Declared,
    Handler,
    Route,
    Routes,
)

SAME = {
    "/users": ("POST", "GET"),
    "/users/me": ("GET",),
    "/users/{user_id}": ("PUT",),
    "/auth": ("POST",),
    "/products": ("GET", "POST"),
    "/products/{product_id}": ("GET", "PUT", "DELETE"),
    "/products/buy": ("POST",),
    "/payment/webhook": ("POST",),
    "/order": ("POST",),
    "/stores/{store_id}/xlsx_report": ("GET",),
}
"""Paths whose requests and answers are those of today, below /api/v1."""

MOVE_STOCK_AND_REPORT = text(
    "SELECT * FROM move_stock_and_report(:store_id, :operation, CAST(:product_ids AS text[]),"
    " CAST(:quantities AS bigint[]), :reference, :actor)"
)
RENEW_SESSION = text("SELECT * FROM renew_session(:store_id, :session_id)")
LIST_FREE_TABLES = text(
    "SELECT * FROM list_free_tables("
    ":store_id, :kind, :seats, :seats_min, :seats_max, :price_min, :price_max)"
)
LIST_ACTIVE_BOOKINGS = text("SELECT * FROM list_active_bookings(:store_id)")
BOOK_TABLE = text(
    "SELECT * FROM book_table("
    ":store_id, :table_id, :user_id, :guest_limit, CAST(:defaults AS jsonb), :actor)"
)
TURN_DOWN_BOOKING = text("SELECT * FROM turn_down_booking(:store_id, :booking_id, :actor)")

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
MINOR_UNITS = 100
"""Of a major one, as in 500.00."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2147483647)]

T = TypeVar("T")
H = TypeVar("H", bound=Handler)


class WrittenId(int):
    """A number that was made here, as a number or as its string."""

    @classmethod
    def parse(cls, value: object) -> "WrittenId":
        """`value` as an id; ValueError when it is none."""
        is_number = isinstance(value, int | str) and not isinstance(value, bool)
        if not is_number or not re.fullmatch(r"[1-9][0-9]{0,17}", str(value), re.ASCII):
            raise ValueError("Expected a positive number, or it as a string")
        return cls(str(value))


class MajorPrice(int):
    """An amount in major units, 500, 500.5 or "500.00", kept in minor ones."""

    _pattern = re.compile(r"([0-9]{1,16})(?:\.([0-9]{0,2})0*)?", re.ASCII)

    @classmethod
    def parse(cls, value: object) -> "MajorPrice":
        """`value` as an amount; ValueError when it is none."""
        is_number = isinstance(value, int | float | str) and not isinstance(value, bool)
        found = cls._pattern.fullmatch(str(value)) if is_number else None
        if not found:
            raise ValueError("Expected an amount with at most two decimals, such as 500.00")
        return cls(int(found[1]) * MINOR_UNITS + int((found[2] or "").ljust(2, "0")))

    @staticmethod
    def write(minor: int) -> str:
        """An amount in minor units as major ones: 500.00."""
        return f"{minor // MINOR_UNITS}.{minor % MINOR_UNITS:02}"


class SignIn(msgspec.Struct, frozen=True):
    """POST /api/token/."""

    username: Login
    password: GivenPassword


class Refresh(msgspec.Struct, frozen=True):
    """POST /api/token/refresh/."""

    refresh: Annotated[str, msgspec.Meta(max_length=4096)]


class TableFields(msgspec.Struct, frozen=True):
    """POST /api/admin/add_table/: a table with one seat, for nothing, where nobody says more."""

    table_type: bookings.Kind = "regular"
    seats: bookings.Seats = 1
    price: MajorPrice = MajorPrice(0)
    can_be_booked: bool = True


class TableChange(msgspec.Struct, frozen=True):
    """POST, PATCH or PUT /api/admin/update_table/: what is absent stays."""

    id: WrittenId
    table_type: bookings.Kind | None = None
    seats: bookings.Seats | None = None
    price: MajorPrice | None = None
    can_be_booked: bool | None = None


class TableFilter(msgspec.Struct, frozen=True):
    """/api/customer/view_tables/: `seats` exactly, the others from and to."""

    table_type: bookings.Kind | None = None
    seats: Count | None = None
    seats_min: Count | None = None
    seats_max: Count | None = None
    price_min: MajorPrice | None = None
    price_max: MajorPrice | None = None


class IdQuery(msgspec.Struct, frozen=True):
    """?id= of a table or a booking."""

    id: WrittenId


class TokenQuery(msgspec.Struct, frozen=True):
    """?id= of a guest's link: its token."""

    id: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Quantity(msgspec.Struct, frozen=True):
    """How many units of an item a store has."""

    item_id: str
    quantity: int


class Quantities(msgspec.Struct, frozen=True):
    """What a store has of all items that are not at zero."""

    store_id: str
    report: list[Quantity]


class StoreReport(msgspec.Struct, frozen=True):
    """The report of a whole store, in two fields."""

    store: Quantities


class Access(msgspec.Struct, frozen=True):
    """A token."""

    access: str


class Pair(Access, frozen=True):
    """A token, and another that renews it while the session lasts."""

    refresh: str


class Table(msgspec.Struct, frozen=True):
    """A table; `price` in major units with two decimals."""

    id: int
    table_type: bookings.Kind
    seats: int
    price: str
    can_be_booked: bool


class ActiveBooking(msgspec.Struct, frozen=True):
    """A booking that is not over."""

    id: int
    table: Table
    customer_email: str | None
    status: Literal["pending", "confirmed", "seated"]


class Done(msgspec.Struct, frozen=True):
    """What a verb answers."""

    status: Literal["success"]
    message: str
    detail: str


class Booked(Done, frozen=True):
    """What booking a table answers."""

    booking_id: int


REPORT = msgspec.json.Decoder(StoreReport)
OBJECT = msgspec.json.Decoder(dict[str, Any])

_adapted = Routes("")


def routes_of_before() -> Iterator[Route]:
    """Every path of the older services, with a slash at its end and without."""
    today = {(r.method, r.path): r for domain in domains.find() for r in domain.routes}
    same = [today[method, path] for path, methods in SAME.items() for method in methods]
    for route in (*same, *_adapted):
        for path in (route.path, route.path + "/"):
            yield route._replace(path=path, prefixes=("",), is_documented=False)


def _both(path: str, audience: Audience, **declared: Unpack[Declared]) -> Callable[[H], H]:
    """Declare a route of GET and of POST, whose body need not be there."""
    lenient: Declared = {**declared, "reads_body": True, "takes_key": False}

    def declare(handler: H) -> H:
        for add in (_adapted.get, _adapted.post):
            add(path, audience, **lenient)(handler)
        return handler

    return declare


@_adapted.get(
    "/stores/{store_id}",
    OPERATORS,
    scope="stock",
    answer=StoreReport,
    codes=("ok", "unknown_store", "too_many_items"),
    opens=True,
)
async def read_store(request: web.Request) -> web.Response:
    """What a store has of each item that is not at zero."""
    store_id = request[STORE_ID]
    row = await read(request, stock.READ_STORE, store_id=store_id, at=None, after=None, limit=None)
    return _report(row, store_id)


@_adapted.post(
    "/stores/{store_id}",
    OPERATORS,
    scope="stock",
    body=stock.Change,
    answer=StoreReport,
    codes=(*stock.MOVE_CODES, "too_many_items"),
    opens=True,
)
async def move_item(request: web.Request, change: stock.Change) -> web.Response:
    """Bring units of an item in or take them out; the report of the whole store."""
    return await _move(request, change.operation, [stock.Item(change.item_id, change.quantity)])


@_adapted.post(
    "/stores/{store_id}/group_op",
    OPERATORS,
    scope="stock",
    body=stock.GroupChange,
    answer=StoreReport,
    codes=(*stock.MOVE_CODES, "too_many_items"),
    opens=True,
)
async def move_items(request: web.Request, change: stock.GroupChange) -> web.Response:
    """The same for several items, all or none."""
    return await _move(request, change.operation, change.items)


@_adapted.post(
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
    row = await call(request, stock.CLEAN_STORE, store_id=store_id, **_context(request))
    return _report(row, store_id)


@_adapted.get("/ws/stores/{store_id}", OPERATORS, scope="stock", opens=True)
async def watch_store(request: web.Request) -> web.StreamResponse:
    """The report of the whole store, and again at each change."""
    return await feed.watch(request, "quantities")


@_adapted.post(
    "/api/token",
    EVERYONE,
    reads_body=True,
    answer=Pair,
    codes=(
        *("ok", "wrong_credentials", "otp_required", "too_many_requests", "unknown_store"),
        "overloaded",
    ),
    takes_key=False,
    is_unlimited=True,
)
async def sign_in(request: web.Request) -> web.Response:
    """Two tokens for a login and its password: one to show, one to get another by."""
    given = await _fields(request, SignIn)
    row = await sessions.begin_session(
        request, sessions.Credentials(given.username, given.password)
    )
    grant = _grant(row)
    tokens, store_id = request.app[AUTH].tokens, request[STORE_ID]
    access = tokens.answer(store_id, grant)["access_token"]
    return json_response(Pair(access, tokens.refresh_token(store_id, grant)))


@_adapted.post(
    "/api/token/refresh",
    EVERYONE,
    reads_body=True,
    answer=Access,
    codes=("ok", "unauthorized"),
    takes_key=False,
    judges_origin=False,
)
async def refresh(request: web.Request) -> web.Response:
    """Another token, while the session lasts."""
    tokens = request.app[AUTH].tokens
    session = tokens.read_refresh((await _fields(request, Refresh)).refresh)
    row = await call(request, RENEW_SESSION, store_id=session.store, session_id=session.sid)
    return json_response(Access(tokens.answer(session.store, _grant(row))["access_token"]))


@_adapted.post(
    "/api/admin/add_table",
    STAFF,
    scope="admin",
    reads_body=True,
    answer=Table,
    codes=("created", "unknown_store", "invalid_request"),
    takes_key=False,
    takes_basic=True,
)
async def add_table(request: web.Request) -> web.Response:
    """Add a table."""
    fields = _columns(await _fields(request, TableFields))
    row = await call(request, bookings.ADD_TABLE, **_ids(request), **fields)
    return _table(row)


async def update_table(request: web.Request) -> web.Response:
    """Change a table; what is absent stays as it is."""
    change = await _fields(request, TableChange)
    ids = {**_ids(request), "table_id": change.id}
    row = await call(request, bookings.CHANGE_TABLE, **ids, **_columns(change))
    return _table(row, table_id=change.id)


for _declare in (_adapted.post, _adapted.patch, _adapted.put):
    _declare(
        "/api/admin/update_table",
        STAFF,
        scope="admin",
        reads_body=True,
        answer=Table,
        codes=("ok", "unknown_table", "invalid_request"),
        takes_key=False,
        takes_basic=True,
    )(update_table)


@_both(
    "/api/admin/accept_booking",
    STAFF,
    scope="bookings",
    query=IdQuery,
    answer=Done,
    codes=("already_confirmed", *bookings.JUDGED, *bookings.VERB),
    takes_basic=True,
)
async def accept_booking(request: web.Request, query: IdQuery) -> web.Response:
    """Give a pending booking its table; its rivals are declined."""
    confirmation = {
        "decline_rivals": True,
        "override": False,
        "defaults": request.app[SETTINGS].booking_defaults,
    }
    return await _do(request, bookings.CONFIRM_BOOKING, query, "Booking accepted.", **confirmation)


@_both(
    "/api/admin/cancel_booking",
    STAFF,
    scope="bookings",
    query=IdQuery,
    answer=Done,
    codes=("already_declined", "already_cancelled", *bookings.VERB),
    takes_basic=True,
)
async def cancel_booking(request: web.Request, query: IdQuery) -> web.Response:
    """Decline what is pending, cancel what is confirmed."""
    return await _do(request, TURN_DOWN_BOOKING, query, "Booking cancelled.")


@_both(
    "/api/admin/view_active_bookings",
    STAFF,
    scope="bookings",
    answer=list[ActiveBooking],
    codes=("ok", "unknown_store", "too_many_items"),
    takes_basic=True,
)
async def view_active_bookings(request: web.Request) -> web.Response:
    """All bookings that are not over, by id."""
    row = await read(request, LIST_ACTIVE_BOOKINGS, store_id=request[STORE_ID])
    results.check(row, store_id=request[STORE_ID])
    listed = msgspec.json.decode(row.document)["bookings"]
    return json_response(
        [
            ActiveBooking(each["booking_id"], _older(each["table"]), each["email"], each["status"])
            for each in listed
        ]
    )


@_both(
    "/api/customer/view_tables",
    EVERYONE,
    answer=list[Table],
    codes=("ok", "unknown_store", "too_many_items"),
    is_unlimited=True,
)
async def view_tables(request: web.Request) -> web.Response:
    """All tables that are open and that nobody has now, by id; filters in the body or the query."""
    wanted = await _fields(request, TableFilter, **request.query)
    row = await read(
        request,
        LIST_FREE_TABLES,
        store_id=request[STORE_ID],
        kind=wanted.table_type,
        seats=wanted.seats,
        seats_min=wanted.seats_min,
        seats_max=wanted.seats_max,
        price_min=wanted.price_min,
        price_max=wanted.price_max,
    )
    results.check(row, store_id=request[STORE_ID])
    return json_response([_older(each) for each in msgspec.json.decode(row.document)["tables"]])


@_adapted.post(
    "/api/customer/book_table",
    USERS,
    query=IdQuery,
    reads_body=True,
    answer=Booked,
    codes=(
        *("created", "already_requested", "unknown_table", "table_closed", "outside_rules"),
        "too_many_bookings",
    ),
    takes_key=False,
    takes_basic=True,
)
async def book_table(request: web.Request, query: IdQuery) -> web.Response:
    """Ask for a table from now on; the same again, while it is pending, answers the first."""
    settings = request.app[SETTINGS]
    row = await call(
        request,
        BOOK_TABLE,
        **_ids(request),
        table_id=query.id,
        user_id=request[CALLER].user_id,
        guest_limit=settings.guest_limit,
        defaults=settings.booking_defaults,
    )
    results.check(row, store_id=request[STORE_ID], table_id=query.id)
    booking_id = msgspec.json.decode(row.document)["booking_id"]
    detail = f"Booking {booking_id} of table {query.id} waits for the house's answer."
    booked = Booked("success", "Table requested.", detail, booking_id)
    return json_response(booked, results.RESULTS[row.result_code].status, row.result_code)


@_adapted.get("/api/customer/cancel_booking", EVERYONE, query=TokenQuery, reads_body=True)
async def cancel_page(request: web.Request, query: TokenQuery) -> web.Response:
    """The page of a guest's link, with the button. Opening it does nothing."""
    return await bookings.cancel_page(request, bookings.LinkQuery(query.id))


@_adapted.post(
    "/api/customer/cancel_booking",
    EVERYONE,
    query=TokenQuery,
    reads_body=True,
    takes_key=False,
    judges_origin=False,
)
async def cancel_by_link(request: web.Request, query: TokenQuery) -> web.Response:
    """Cancel a booking by its link: the page's button is answered by the page, others by JSON."""
    if request.content_type in FORMS:
        return await bookings.cancel_by_page(request, bookings.LinkQuery(query.id))
    ids = {"store_id": request[STORE_ID], "token_hash": digest(query.id)}
    row = await call(request, bookings.CANCEL_BOOKING_BY_LINK, **ids)
    results.check(row, store_id=request[STORE_ID])
    booking_id = msgspec.json.decode(row.document)["booking_id"]
    done = Done("success", "Booking cancelled.", f"Booking {booking_id} is cancelled.")
    return json_response(done, code=row.result_code)


async def _fields(request: web.Request, kind: type[T], **also: Any) -> T:
    """What a body says, which may be empty or say more than is known; null says nothing."""
    values = also
    if (body := await read_bytes(request)).strip():
        check_headers(request)
        values = also | decode(body, OBJECT)
    return convert_fields({k: v for k, v in values.items() if v is not None}, kind)


async def _move(
    request: web.Request, operation: stock.Operation, items: list[stock.Item]
) -> web.Response:
    store_id = request[STORE_ID]
    with doubted(request, stock.MAY_HAVE_MOVED):
        row = await call(
            request,
            MOVE_STOCK_AND_REPORT,
            store_id=store_id,
            operation=operation,
            product_ids=[item.item_id for item in items],
            quantities=[item.quantity for item in items],
            **_context(request),
        )
    return _report(row, store_id)


def _report(row: Row[Any], store_id: str) -> web.Response:
    """A report of today in the two fields of the older service."""
    results.check(row, store_id=store_id)
    return json_response(REPORT.decode(row.document))


def _context(request: web.Request) -> dict[str, str]:
    return {"reference": REQUEST_ID.get(), "actor": request[CALLER].name}


def _grant(row: Row[Any]) -> Grant:
    results.check(row)
    return msgspec.json.decode(row.document, type=Grant)


async def _do(
    request: web.Request, statement: TextClause, query: IdQuery, message: str, **more: Any
) -> web.Response:
    """What a verb of staff on a booking answers."""
    ids = {"store_id": request[STORE_ID], "booking_id": query.id}
    row = await call(request, statement, **ids, actor=request[CALLER].name, **more)
    results.check(row, **ids)
    status = msgspec.json.decode(row.document)["status"]
    done = Done("success", message, f"Booking {query.id} is {status}.")
    return json_response(done, code=row.result_code)


def _ids(request: web.Request) -> dict[str, Any]:
    return {"store_id": request[STORE_ID], "actor": request[CALLER].name}


def _columns(fields: TableFields | TableChange) -> dict[str, Any]:
    """A table's fields by the names of today."""
    return {
        "kind": fields.table_type,
        "seats": fields.seats,
        "price": fields.price,
        "is_open": fields.can_be_booked,
    }


def _table(row: Row[Any], **ids: Any) -> web.Response:
    results.check(row, **ids)
    table = _older(msgspec.json.decode(row.document))
    return json_response(table, results.RESULTS[row.result_code].status, row.result_code)


def _older(table: dict[str, Any]) -> Table:
    """A table of today in the names of the older service."""
    price = MajorPrice.write(table["price"])
    return Table(table["table_id"], table["kind"], table["seats"], price, table["is_open"])
