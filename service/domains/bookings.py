"""Bookings: a restaurant's tables, who wants them when, and the house rules."""

from base64 import b64encode
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType
from sqlalchemy import TextClause, text

from service.guest_pages import OURS, Pages, zone_of
from service.jobs import Job, done_by, found_by
from service.results import is_error
from service.settings import Settings
from service.web.auth import caller_of, digest
from service.web.bodies import MAX_BIGINT, Email, Moment, PersonName, Phone, refuse_field
from service.web.context import CALLER, SETTINGS, STORE_ID, call, number_of, read
from service.web.responses import ENCODER, respond
from service.web.routing import EVERYONE, OPERATORS, SIGNED_IN, STAFF, Caller, Routes

ADD_TABLE = text("SELECT * FROM add_table(:store_id, :kind, :seats, :price, :is_open, :actor)")
CHANGE_TABLE = text(
    "SELECT * FROM change_table(:store_id, :table_id, :kind, :seats, :price, :is_open, :actor)"
)
LIST_TABLES = text(
    "SELECT * FROM list_tables(:store_id, :kind, :seats, :price_min, :price_max, :starts_at,"
    " :ends_at, :after, :limit, CAST(:defaults AS jsonb))"
)
LIST_ALL_TABLES = text("SELECT * FROM list_all_tables(:store_id, :after, :limit)")
READ_RULES = text("SELECT * FROM read_booking_rules(:store_id, CAST(:defaults AS jsonb))")
SET_RULES = text(
    "SELECT * FROM set_booking_rules("
    ":store_id, CAST(:rules AS jsonb), CAST(:defaults AS jsonb), :actor)"
)
REQUEST_BOOKING = text(
    "SELECT * FROM request_booking(:store_id, :table_id, :starts_at, :ends_at, :guests,"
    " CAST(:contact AS jsonb), :user_id, :guest_limit, CAST(:defaults AS jsonb), :actor)"
)
PLACE_BOOKING = text(
    "SELECT * FROM place_booking(:store_id, :table_id, :starts_at, :ends_at, :is_open_ended,"
    " :guests, CAST(:contact AS jsonb), :override, CAST(:defaults AS jsonb), :actor)"
)
CONFIRM_BOOKING = text(
    "SELECT * FROM confirm_booking("
    ":store_id, :booking_id, :decline_rivals, :override, CAST(:defaults AS jsonb), :actor)"
)
MOVE_BOOKING = text(
    "SELECT * FROM move_booking(:store_id, :booking_id, :table_id, :starts_at, :ends_at,"
    " :override, CAST(:defaults AS jsonb), :actor)"
)
DECLINE_BOOKING = text("SELECT * FROM decline_booking(:store_id, :booking_id, :actor)")
CANCEL_BOOKING = text(
    "SELECT * FROM cancel_booking(:store_id, :booking_id, :user_id, :by_guest, :actor)"
)
SEAT_BOOKING = text("SELECT * FROM seat_booking(:store_id, :booking_id, :actor)")
FINISH_BOOKING = text("SELECT * FROM finish_booking(:store_id, :booking_id, :actor)")
MISS_BOOKING = text("SELECT * FROM miss_booking(:store_id, :booking_id, :actor)")
LIST_BOOKINGS = text(
    "SELECT * FROM list_bookings(:store_id, :user_id, :status, :since, :until, :after, :limit)"
)
READ_BOOKING = text("SELECT * FROM read_booking(:store_id, :booking_id, :user_id)")
FIND_LAPSED_BOOKINGS = text("SELECT * FROM find_lapsed_bookings()")
LAPSE_BOOKINGS = text(
    "SELECT result_code, lapsed_count AS done FROM lapse_bookings(:store_id, :limit)"
)
FIND_OLD_GUESTS = text("SELECT * FROM find_old_guests(:age)")
ANONYMISE_GUESTS = text(
    "SELECT result_code, erased_count AS done FROM anonymise_guests(:store_id, :age, :limit)"
)
FIND_OLD_LINKS = text("SELECT * FROM find_old_links(:age)")
DROP_OLD_LINKS = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM drop_old_links(:store_id, :age, :limit)"
)
READ_BOOKING_LINK = text(
    "SELECT * FROM read_booking_link(:store_id, :token_hash, CAST(:defaults AS jsonb))"
)
CANCEL_BOOKING_BY_LINK = text("SELECT * FROM cancel_booking_by_link(:store_id, :token_hash)")
MOVE_BOOKING_BY_LINK = text(
    "SELECT * FROM move_booking_by_link(:store_id, :token_hash, :table_id, :starts_at, :ends_at,"
    " CAST(:defaults AS jsonb))"
)
FORGET_GUEST = text("SELECT * FROM forget_guest(:store_id, :contact, :actor)")

Kind = Literal["regular", "cabin", "room"]
State = Literal["pending", "confirmed", "seated", "finished", "no_show", "declined", "cancelled"]
BigId = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]
Seats = Annotated[int, msgspec.Meta(ge=1, le=10000)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]
Minutes = Annotated[int, msgspec.Meta(ge=0, le=525600)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?\Z")]
Clock = Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)\Z")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table; `price` of one booking in minor units."""

    table_id: int
    kind: Kind
    seats: int
    price: int
    is_open: bool


class Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of tables by id."""

    tables: list[Table]
    next: int | None


class NewTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /tables."""

    kind: Kind
    seats: Seats
    price: Price
    is_open: bool = True


class TableChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """PATCH /tables/{table_id}: what is absent stays as it is."""

    kind: Kind | None = None
    seats: Seats | None = None
    price: Price | None = None
    is_open: bool | None = None


class TableQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /tables: open ones for a party of `seats`; with a time, those that are free then."""

    kind: Kind | None = None
    seats: Seats | None = None
    price_min: Price | None = None
    price_max: Price | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    after: BigId | None = None
    limit: Limit = 100


class Visit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long parties of up to so many guests stay."""

    guests: Seats
    minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """PUT /bookings/rules: what is absent is not restricted."""

    time_zone: str | UnsetType = UNSET
    """IANA name of the zone that hours and days are in."""
    hours: dict[Weekday, list[tuple[Clock, Clock]]] | None = None
    """By weekday, spans from opening to closing; a closing not after the opening is the next
    day's. A day without spans is closed; null: always open."""
    closed_days: list[date] = []
    visit_minutes: list[Visit] = []
    """The smallest entry that a party fits into counts, else the largest."""
    buffer_minutes: Minutes = 0
    """Between two visits to a table."""
    notice_minutes: Minutes = 0
    """How long before its start a visit has to be asked for."""
    days_ahead: Annotated[int, msgspec.Meta(ge=0, le=3650)] | None = None
    largest_party: Seats | None = None
    reminder_hours: Annotated[int, msgspec.Meta(ge=0, le=720)] | UnsetType = UNSET
    """How long before a visit the guest is reminded; 0: not at all."""


class RulesInForce(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /bookings/rules: the house rules, with what applies where they say nothing.

    PUT takes them as they are.
    """

    time_zone: str
    hours: dict[Weekday, list[tuple[Clock, Clock]]] | None
    closed_days: list[date]
    visit_minutes: list[Visit]
    buffer_minutes: int
    notice_minutes: int
    days_ahead: int | None
    largest_party: int | None
    reminder_hours: int


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who comes, and where to reach them."""

    name: PersonName | None = None
    email: Email | None = None
    phone: Phone | None = None
    language: Language | None = None
    """Of the mails; null: the house's."""


class NewBooking(
    Contact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """POST /bookings: e-mail or phone, unless a signed-in user has one."""

    table_id: BigId
    starts_at: Moment
    ends_at: Moment | UnsetType = UNSET
    """Absent: the visit's length by the house rules."""
    guests: Seats = 1


class PlacedBooking(
    Contact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True
):
    """POST /bookings/place: confirmed at once."""

    table_id: BigId
    starts_at: Moment
    ends_at: Moment | UnsetType | None = UNSET
    """Absent: the visit's length; null: open-ended, the table is taken for good."""
    guests: Seats = 1
    override: bool = False
    """Lifts every rule but that a table is had by one party at a time."""


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /bookings/{booking_id}/confirm."""

    rivals: Literal["decline", "keep"] = "decline"
    """What becomes of pending bookings that overlap it."""
    override: bool = False


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /bookings/{booking_id}/move: what is absent stays; without `ends_at` the length does."""

    table_id: BigId | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    override: bool = False


class Booking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A booking, without the guest's contacts."""

    booking_id: int
    status: State
    table_id: int
    starts_at: datetime
    ends_at: datetime | None
    guests: int
    price_at_booking: int
    """The table's price when it was booked, in minor units."""
    version: int
    """Rises with every change."""
    reason: Literal["staff", "rival", "lapsed"] | None
    """Why it was declined."""
    created_at: datetime


class BookingWithGuest(Booking, frozen=True, forbid_unknown_fields=True):
    """A booking as staff and its own customer see it."""

    name: str | None
    email: str | None
    phone: str | None
    user_id: int | None


class Bookings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of bookings by id."""

    bookings: list[BookingWithGuest]
    next: int | None


class AllTablesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /tables/all: which page."""

    after: BigId | None = None
    limit: Limit = 100


class BookingQuery(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}
):
    """GET /bookings: of one state, that touch a time."""

    status: State | None = None
    since: Moment | None = None
    until: Moment | None = None
    after: BigId | None = None
    limit: Limit = 100


class Forgetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /guests/forget: whose name and contacts to erase."""

    contact: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    """The e-mail address in any letter case, or the phone number however it is written."""


class Forgotten(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of how many bookings the guest was erased."""

    forgotten: int


class GuestMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /bookings/move?token=: what a guest may ask for instead."""

    table_id: BigId | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None


class LinkQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of a link from a mail."""

    token: Annotated[str, msgspec.Meta(max_length=200)] = ""


class LinkedBooking(msgspec.Struct, frozen=True):
    """What the page of a link shows."""

    status: State
    table_id: int
    starts_at: datetime
    ends_at: datetime | None
    guests: int
    name: str | None
    language: str | None
    restaurant: str
    time_zone: str
    utc_offset: int


def _source(text: str) -> str:
    """An inline style as a Content-Security-Policy names it."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


PAGES = web.AppKey("PAGES", Pages)
PAGE_STYLE = (OURS / "cancel.css").read_text("utf-8")
PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src '{_source(PAGE_STYLE)}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

JUDGED = ("table_taken", "table_closed")
VERB = ("ok", "booking_closed", "wrong_state", "unknown_booking")

routes = Routes()


def set_up(app: web.Application) -> None:
    """Give the application what guests read."""
    settings = app[SETTINGS]
    app[PAGES] = Pages(settings.templates_dir, settings.language)


def jobs(settings: Settings) -> list[Job]:
    """Requests that nobody answered are declined; guests of long ago and links are forgotten."""
    age = timedelta(days=settings.guest_days)
    return [
        Job("lapse", found_by(FIND_LAPSED_BOOKINGS), done_by(LAPSE_BOOKINGS), every=5),
        Job(
            "forget_guests",
            found_by(FIND_OLD_GUESTS, age=age),
            done_by(ANONYMISE_GUESTS, age=age),
            every=3600,
        ),
        Job(
            "drop_links",
            found_by(FIND_OLD_LINKS, age=age),
            done_by(DROP_OLD_LINKS, age=age),
            every=3600,
        ),
    ]


@routes.get(
    "/tables",
    EVERYONE,
    query=TableQuery,
    answer=Tables,
    codes=("ok", "unknown_store", "outside_rules", "invalid_request"),
)
async def list_tables(request: web.Request, query: TableQuery) -> web.Response:
    """Open tables by id; with a time, those that are free then by all house rules."""
    page = msgspec.structs.asdict(query)
    row = await read(request, LIST_TABLES, **_restaurant(request), **page)
    return respond(row, store_id=request[STORE_ID])


@routes.get(
    "/tables/all",
    STAFF,
    scope="admin",
    query=AllTablesQuery,
    answer=Tables,
    codes=("ok", "unknown_store"),
)
async def list_all_tables(request: web.Request, query: AllTablesQuery) -> web.Response:
    """All tables by id, closed ones, too: `after`, `limit`; `next` is the next `after`."""
    store = {"store_id": request[STORE_ID]}
    row = await read(request, LIST_ALL_TABLES, **store, **msgspec.structs.asdict(query))
    return respond(row, **store)


@routes.post(
    "/tables",
    STAFF,
    scope="admin",
    body=NewTable,
    answer=Table,
    codes=("created", "unknown_store", "invalid_request"),
)
async def add_table(request: web.Request, table: NewTable) -> web.Response:
    """Add a table, which can be booked at once."""
    row = await call(request, ADD_TABLE, **_actor(request), **msgspec.structs.asdict(table))
    return respond(row, store_id=request[STORE_ID])


@routes.patch(
    "/tables/{table_id}",
    STAFF,
    scope="admin",
    body=TableChange,
    answer=Table,
    codes=("ok", "unknown_table", "invalid_request"),
)
async def change_table(request: web.Request, change: TableChange) -> web.Response:
    """Change a table, open or close it; what was booked keeps its price and its table."""
    table_id = number_of(request, "table_id", "unknown_table")
    fields = msgspec.structs.asdict(change)
    row = await call(request, CHANGE_TABLE, **_actor(request), table_id=table_id, **fields)
    return respond(row, store_id=request[STORE_ID], table_id=table_id)


@routes.get("/bookings/rules", EVERYONE, answer=RulesInForce, codes=("ok", "unknown_store"))
async def read_booking_rules(request: web.Request) -> web.Response:
    """The house rules in force."""
    row = await read(request, READ_RULES, **_restaurant(request))
    return respond(row, store_id=request[STORE_ID])


@routes.put(
    "/bookings/rules",
    STAFF,
    scope="admin",
    body=Rules,
    answer=RulesInForce,
    codes=("ok", "unknown_store", "invalid_request"),
)
async def set_booking_rules(request: web.Request, rules: Rules) -> web.Response:
    """Replace the house rules; they are in force at once, for what is asked for from now on."""
    if rules.time_zone is not UNSET:
        _check_zone(rules.time_zone)
    row = await call(
        request,
        SET_RULES,
        **_restaurant(request),
        rules=ENCODER.encode(rules).decode(),
        actor=request[CALLER].name,
    )
    return respond(row, store_id=request[STORE_ID])


@routes.post(
    "/bookings",
    EVERYONE,
    body=NewBooking,
    known_by=lambda wanted: f"{wanted.email}\n{wanted.phone}",
    answer=Booking,
    codes=(
        *("created", "unknown_table", "table_closed", "outside_rules", "contact_required"),
        *("too_many_bookings", "invalid_request"),
    ),
)
async def request_booking(request: web.Request, wanted: NewBooking) -> web.Response:
    """Ask for a table: it is pending, and takes nothing, until staff confirm or decline it."""
    caller = await caller_of(request)
    row = await call(
        request,
        REQUEST_BOOKING,
        **_restaurant(request),
        table_id=wanted.table_id,
        starts_at=wanted.starts_at,
        ends_at=None if wanted.ends_at is UNSET else wanted.ends_at,
        guests=wanted.guests,
        contact=_contact(wanted),
        user_id=_only(caller),  # who books for a guest on the phone is not that guest
        guest_limit=request.app[SETTINGS].guest_limit,
        actor=caller.name,
    )
    return respond(row, store_id=request[STORE_ID], table_id=wanted.table_id)


@routes.post(
    "/bookings/place",
    OPERATORS,
    scope="bookings",
    body=PlacedBooking,
    answer=Booking,
    codes=("created", "unknown_table", "outside_rules", "invalid_request", *JUDGED),
)
async def place_booking(request: web.Request, wanted: PlacedBooking) -> web.Response:
    """A booking that staff make, confirmed at once."""
    row = await call(
        request,
        PLACE_BOOKING,
        **_restaurant(request),
        table_id=wanted.table_id,
        starts_at=wanted.starts_at,
        ends_at=None if wanted.ends_at is UNSET else wanted.ends_at,
        is_open_ended=wanted.ends_at is None,
        guests=wanted.guests,
        contact=_contact(wanted),
        override=wanted.override,
        actor=request[CALLER].name,
    )
    return respond(row, store_id=request[STORE_ID], table_id=wanted.table_id)


@routes.get(
    "/bookings",
    SIGNED_IN,
    scope="bookings",
    query=BookingQuery,
    answer=Bookings,
    codes=("ok", "unknown_store"),
)
async def list_bookings(request: web.Request, query: BookingQuery) -> web.Response:
    """Bookings by id: staff see all, customers their own."""
    page = msgspec.structs.asdict(query)
    mine = {"store_id": request[STORE_ID], "user_id": _only(request[CALLER])}
    return respond(await read(request, LIST_BOOKINGS, **mine, **page), store_id=request[STORE_ID])


@routes.get(
    "/bookings/{booking_id}",
    SIGNED_IN,
    scope="bookings",
    answer=BookingWithGuest,
    codes=("ok", "unknown_booking"),
)
async def read_booking(request: web.Request) -> web.Response:
    """A booking with its guest: staff see any, customers their own."""
    ids = _ids(request)
    row = await read(request, READ_BOOKING, **ids, user_id=_only(request[CALLER]))
    return respond(row, **ids)


@routes.post(
    "/bookings/{booking_id}/confirm",
    OPERATORS,
    scope="bookings",
    body=Confirmation,
    answer=Booking,
    codes=("already_confirmed", *JUDGED, *VERB),
)
async def confirm_booking(request: web.Request, confirmation: Confirmation) -> web.Response:
    """Give a pending booking its table; its rivals are declined, each guest told."""
    return await _do(
        request,
        CONFIRM_BOOKING,
        decline_rivals=confirmation.rivals == "decline",
        override=confirmation.override,
        defaults=request.app[SETTINGS].booking_defaults,
    )


@routes.post(
    "/bookings/{booking_id}/decline",
    OPERATORS,
    scope="bookings",
    answer=Booking,
    codes=("already_declined", *VERB),
)
async def decline_booking(request: web.Request) -> web.Response:
    """Tell a guest that a pending booking will not be."""
    return await _do(request, DECLINE_BOOKING)


@routes.post(
    "/bookings/{booking_id}/cancel",
    SIGNED_IN,
    scope="bookings",
    answer=Booking,
    codes=("already_cancelled", *VERB),
)
async def cancel_booking(request: web.Request) -> web.Response:
    """Take a booking back, a confirmed one, too: staff any, customers their own."""
    user_id = _only(request[CALLER])
    return await _do(request, CANCEL_BOOKING, user_id=user_id, by_guest=user_id is not None)


@routes.post(
    "/bookings/{booking_id}/move",
    OPERATORS,
    scope="bookings",
    body=Move,
    answer=Booking,
    codes=("outside_rules", "unknown_table", "invalid_request", *JUDGED, *VERB),
)
async def move_booking(request: web.Request, move: Move) -> web.Response:
    """Another table, another time; the price stays. One that changes nothing tells nobody."""
    fields = msgspec.structs.asdict(move)
    return await _do(
        request, MOVE_BOOKING, defaults=request.app[SETTINGS].booking_defaults, **fields
    )


@routes.post(
    "/bookings/{booking_id}/seat",
    OPERATORS,
    scope="bookings",
    answer=Booking,
    codes=("already_seated", "table_taken", *VERB),
)
async def seat_booking(request: web.Request) -> web.Response:
    """The guests have sat down: the table is theirs until they are finished."""
    return await _do(request, SEAT_BOOKING)


@routes.post(
    "/bookings/{booking_id}/finish",
    OPERATORS,
    scope="bookings",
    answer=Booking,
    codes=("already_finished", *VERB),
)
async def finish_booking(request: web.Request) -> web.Response:
    """The guests have gone: the table is free."""
    return await _do(request, FINISH_BOOKING)


@routes.post(
    "/bookings/{booking_id}/no-show",
    OPERATORS,
    scope="bookings",
    answer=Booking,
    codes=("already_no_show", *VERB),
)
async def miss_booking(request: web.Request) -> web.Response:
    """The guests did not come: the table is free."""
    return await _do(request, MISS_BOOKING)


@routes.post(
    "/guests/forget",
    STAFF,
    scope="admin",
    body=Forgetting,
    answer=Forgotten,
    codes=("ok", "unknown_guest"),
)
async def forget_guest(request: web.Request, guest: Forgetting) -> web.Response:
    """Erase a guest's name and contacts wherever they stand; the bookings stay."""
    row = await call(request, FORGET_GUEST, **_actor(request), contact=guest.contact)
    return respond(row, store_id=request[STORE_ID])


@routes.post(
    "/bookings/move",
    EVERYONE,
    judges_origin=False,
    query=LinkQuery,
    body=GuestMove,
    known_by=lambda query, move: query.token,
    answer=Booking,
    codes=("outside_rules", "unknown_table", "unknown_link", "invalid_request", *JUDGED, *VERB),
)
async def move_booking_by_link(
    request: web.Request, query: LinkQuery, move: GuestMove
) -> web.Response:
    """A guest asks for another table or time, by the link of a mail, while it is pending."""
    fields = msgspec.structs.asdict(move)
    ids = _restaurant(request) | {"token_hash": digest(query.token)}
    row = await call(request, MOVE_BOOKING_BY_LINK, **ids, **fields)
    return respond(row, store_id=request[STORE_ID])


@routes.get("/bookings/cancel", EVERYONE, query=LinkQuery, media="text/html", pages=(404, 410))
async def cancel_page(request: web.Request, query: LinkQuery) -> web.Response:
    """The page of a link: the booking and a button. Opening it does nothing."""
    booking = await _linked(request, query)
    if booking is None:
        return _page(request, 404, "unknown", "unknown_notice")
    if booking.status == "cancelled":
        return _page(request, 200, "done", "done_notice", booking)
    if booking.status not in ("pending", "confirmed"):
        return _page(request, 410, "over", "over_notice", booking)
    return _page(request, 200, "ask", "notice", booking)


@routes.post(
    "/bookings/cancel",
    EVERYONE,
    query=LinkQuery,
    reads_body=True,
    takes_key=False,
    judges_origin=False,
    media="text/html",
    pages=(404, 409, 410),
)
async def cancel_by_page(request: web.Request, query: LinkQuery) -> web.Response:
    """The button of the page: the booking is cancelled, once."""
    booking = await _linked(request, query)  # before the write: nothing can go wrong after it
    if booking is None:
        return _page(request, 404, "unknown", "unknown_notice")
    ids = {"store_id": request[STORE_ID], "token_hash": digest(query.token)}
    row = await call(request, CANCEL_BOOKING_BY_LINK, **ids)
    if row.result_code == "ok":
        return _page(request, 200, "done", "done_notice", booking)
    if row.result_code == "already_cancelled":
        return _page(request, 200, "done_before", "done_notice", booking)
    return _page(request, 409, "over", "over_notice", booking)


async def _linked(request: web.Request, query: LinkQuery) -> LinkedBooking | None:
    """The booking that a link is of; None for a link that is none."""
    ids = _restaurant(request) | {"token_hash": digest(query.token)}
    row = await read(request, READ_BOOKING_LINK, **ids)
    if is_error(row.result_code):
        return None
    return msgspec.json.decode(row.document, type=LinkedBooking)


def _page(
    request: web.Request,
    status: int,
    heading: str,
    notice: str,
    booking: LinkedBooking | None = None,
) -> web.Response:
    """The page of a link, in the guest's language."""
    pages = request.app[PAGES]
    words = pages.words(booking.language if booking else None)
    facts: dict[str, Any] = {"day": "", "hours": ""}
    if booking:
        zone = zone_of(booking.time_zone, booking.utc_offset)
        facts["day"] = words.day(booking.starts_at, zone)
        facts["hours"] = words.hours(booking.starts_at, booking.ends_at, zone)
    html = pages.render(
        "cancel.html",
        words=words,
        heading=heading,
        notice=notice,
        booking=booking,
        style=PAGE_STYLE,
        **facts,
    )
    response = web.Response(text=html, status=status, content_type="text/html")
    response.headers.update(PAGE_HEADERS)
    return response


async def _do(request: web.Request, statement: TextClause, **parameters: Any) -> web.Response:
    """What a verb on a booking answers."""
    ids = _ids(request)
    row = await call(request, statement, **ids, actor=request[CALLER].name, **parameters)
    return respond(row, **ids)


def _ids(request: web.Request) -> dict[str, Any]:
    booking_id = number_of(request, "booking_id", "unknown_booking")
    return {"store_id": request[STORE_ID], "booking_id": booking_id}


def _restaurant(request: web.Request) -> dict[str, str]:
    return {"store_id": request[STORE_ID], "defaults": request.app[SETTINGS].booking_defaults}


def _actor(request: web.Request) -> dict[str, str]:
    return {"store_id": request[STORE_ID], "actor": request[CALLER].name}


def _contact(contact: Contact) -> str:
    """Name and contacts, as JSON."""
    fields = {name: getattr(contact, name) for name in Contact.__struct_fields__}
    return ENCODER.encode(fields).decode()


def _only(caller: Caller) -> int | None:
    """The one user whose bookings a caller may see; None: all of the store's."""
    return caller.user_id if caller.role == "customer" else None


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise refuse_field("time_zone", "There is no such time zone, as UTC is one") from None
