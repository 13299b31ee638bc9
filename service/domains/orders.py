"""Orders: lines whose units are held, paid once, refunded; and what they have sold."""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from sqlalchemy import TextClause, text

from service.jobs import Job, done_by, found_by
from service.results import Refusal
from service.settings import Settings
from service.web.bodies import MAX_BIGINT, OutsideId, Quantity
from service.web.context import CALLER, SETTINGS, STORE_ID, call, doubted, ids_of, read
from service.web.responses import ENCODER, respond
from service.web.routing import SIGNED_IN, STAFF, Caller, Routes

CREATE_ORDER = text(
    "SELECT * FROM create_order("
    ":store_id, :order_id, :client_name, :client_address, :user_id, :actor)"
)
ADD_TO_ORDER = text(
    "SELECT * FROM add_to_order(:store_id, :order_id, :product_id, :quantity, :user_id,"
    " :hold_seconds, :max_seconds, :actor)"
)
SET_ORDER_LINE = text(
    "SELECT * FROM set_order_line(:store_id, :order_id, :product_id, :quantity, :user_id,"
    " :hold_seconds, :max_seconds, :actor)"
)
CHECKOUT_ORDER = text(
    "SELECT * FROM checkout_order("
    ":store_id, :order_id, :user_id, :hold_seconds, :max_seconds, :actor)"
)
CANCEL_ORDER = text("SELECT * FROM cancel_order(:store_id, :order_id, :user_id, :actor)")
PAY_ORDER = text(
    "SELECT * FROM pay_order(:store_id, :order_id, :user_id, :account_id, :reference, :actor)"
)
REFUND_ORDER = text(
    "SELECT * FROM refund_order(:store_id, :order_id, CAST(:lines AS jsonb), :actor)"
)
READ_ORDER = text("SELECT * FROM read_order(:store_id, :order_id, :user_id)")
LIST_ORDERS = text(
    "SELECT * FROM list_orders(:store_id, :user_id, :status, :client, :after, :limit)"
)
LATEST_ORDERS = text("SELECT * FROM latest_orders(:store_id, :user_id, :status, :client, :limit)")
REPORT_CLIENTS = text("SELECT * FROM report_clients(:store_id, :after, :limit)")
REPORT_TOP_PRODUCTS = text("SELECT * FROM report_top_products(:store_id, :days)")
FIND_LAPSED_ORDERS = text("SELECT * FROM find_lapsed_orders()")
LAPSE_ORDERS = text("SELECT result_code, lapsed_count AS done FROM lapse_orders(:store_id, :limit)")

MAY_HAVE_ADDED = (
    "The connection was lost after sending. Repeating could add twice: see GET /orders/{order_id} "
    "first. With an Idempotency-Key a repeat is safe."
)
EARLIER_WORDS = {
    "unknown_order": "Order with specified ID does not exist",
    "unknown_product": "Nomenclature with specified ID does not exist",
    "insufficient_stock": "Not enough stock in stock",
}
"""What clients of the earlier service look for in `detail`."""

BigId = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
State = Literal["open", "paid", "cancelled", "expired"]


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Whom an order is for; found again by exact name and address."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    address: Annotated[str, msgspec.Meta(max_length=400)] = ""


class NewOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /orders: for a client; a customer's is theirs."""

    order_id: OutsideId | None = None
    """Null: one is made."""
    client: Client | None = None
    """Left out by customers: their login."""


class Addition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /order: units of a product, in the names of the earlier service."""

    order_id: OutsideId
    nomenclature_id: OutsideId
    quantity: Quantity


class LineChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PUT /orders/{order_id}/lines/{product_id}: how many units; 0 takes the line away."""

    quantity: Annotated[int, msgspec.Meta(ge=0, le=2147483647)]


class Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /orders/{order_id}/pay: one of the two."""

    account_id: BigId | None = None
    reference: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """Of money taken outside: cash, a terminal, an invoice. For staff and keys."""


class RefundLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Units whose money is given back."""

    product_id: OutsideId
    quantity: Quantity
    restock: bool = False
    """Whether they come back into stock."""


class Refund(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /orders/{order_id}/refund."""

    lines: Annotated[list[RefundLine], msgspec.Meta(min_length=1, max_length=100)]


class KnownClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client of the store."""

    client_id: int
    name: str
    address: str


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product of an order; the price of one unit in minor units, as of its first."""

    product_id: str
    quantity: int
    price_at_purchase: int
    refunded: int


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An order with its lines; amounts in minor units."""

    order_id: str
    number: int
    status: State
    client: KnownClient
    lines: list[Line]
    total: int
    refunded_total: int
    version: int
    """Rises with every change."""
    created_at: datetime
    expires_at: datetime | None
    """When its hold lapses; null: never, or it holds nothing."""
    paid_at: datetime | None
    paid_from: Literal["account", "outside"] | None
    reference: str | None


class Orders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of orders by number."""

    orders: list[Order]
    next: int | None


class AddedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of an order, with all its units."""

    order_id: str
    product_id: str
    quantity: int
    price_at_purchase: int


class OrderQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /orders: in one state, of clients of one name; the newest are no pages."""

    status: State | None = None
    client: str | None = None
    sort: Literal["number", "newest"] = "number"
    after: BigId | None = None
    limit: Limit = 100


class ClientQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /reports/clients: which page."""

    after: BigId | None = None
    limit: Limit = 100


class ClientSales(KnownClient, frozen=True, forbid_unknown_fields=True):
    """What a client has paid for orders, less refunds."""

    orders: int
    total: int


class SalesByClient(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of clients."""

    clients: list[ClientSales]
    next: int | None


class TopQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /reports/top-products: of how many days by UTC, today included."""

    days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 30


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A category of the first level."""

    category_id: str
    name: str


class SoldProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a product was sold, less refunds."""

    product_id: str
    name: str
    category: Category | None
    units: int
    amount: int


class TopProducts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The five most sold products, the first the most sold."""

    days: int
    products: list[SoldProduct]


UNKNOWN = ("unknown_order", "unknown_store")
HELD = (
    *("insufficient_stock", "unknown_product", "reservation_closed", "invalid_request"),
    *("out_of_range", "order_closed", *UNKNOWN),
)

routes = Routes()


def jobs(settings: Settings) -> list[Job]:
    """Orders whose hold has lapsed are written down as expired, and told."""
    return [Job("lapsing of orders", found_by(FIND_LAPSED_ORDERS), done_by(LAPSE_ORDERS))]


@routes.post(
    "/orders",
    SIGNED_IN,
    scope="orders",
    body=NewOrder,
    answer=Order,
    codes=("created", "already_exists", "order_id_reused", "unknown_store", "invalid_request"),
    opens=True,
)
async def create_order(request: web.Request, order: NewOrder) -> web.Response:
    """Make an empty order: 201. The same id for the same client again: 200."""
    caller = request[CALLER]
    client = order.client
    if client is None and _only(caller) is not None:
        client = Client(caller.login)
    ids = {"store_id": request[STORE_ID], "order_id": order.order_id or str(uuid.uuid4())}
    row = await call(
        request,
        CREATE_ORDER,
        **ids,
        client_name=client.name if client else None,
        client_address=client.address if client else None,
        user_id=_only(caller),
        actor=caller.name,
    )
    return respond(row, **ids)


@routes.post(
    "/order",
    SIGNED_IN,
    scope="orders",
    body=Addition,
    answer=AddedLine,
    codes=("created", "not_for_sale", *HELD),
    opens=True,
)
async def add_to_order(request: web.Request, addition: Addition) -> web.Response:
    """Add units to an order and hold them: a new line, or an existing one grows."""
    ids = {
        "store_id": request[STORE_ID],
        "order_id": addition.order_id,
        "product_id": addition.nomenclature_id,
        "quantity": addition.quantity,
    }
    with doubted(request, MAY_HAVE_ADDED.format_map(ids)):
        row = await call(request, ADD_TO_ORDER, **ids, **_who(request), **_lifetimes(request))
    return respond(row, EARLIER_WORDS.get(row.result_code, ""), **ids)


@routes.get(
    "/orders",
    SIGNED_IN,
    scope="orders",
    query=OrderQuery,
    answer=Orders,
    codes=("ok", "unknown_store"),
    opens=True,
)
async def list_orders(request: web.Request, query: OrderQuery) -> web.Response:
    """Orders by number: staff and keys see all, customers their own.

    `sort=newest`: the latest ones first.
    """
    which = {"status": query.status, "client": query.client, "limit": query.limit}
    which |= {"store_id": request[STORE_ID], "user_id": _only(request[CALLER])}
    if query.sort == "newest":
        row = await read(request, LATEST_ORDERS, **which)
    else:
        row = await read(request, LIST_ORDERS, **which, after=query.after)
    return respond(row, store_id=request[STORE_ID])


@routes.get(
    "/orders/{order_id}",
    SIGNED_IN,
    scope="orders",
    answer=Order,
    codes=("ok", "unknown_order"),
    opens=True,
)
async def read_order(request: web.Request) -> web.Response:
    """An order with its lines: customers their own."""
    ids = ids_of(request)
    row = await read(request, READ_ORDER, **ids, user_id=_only(request[CALLER]))
    return respond(row, **ids)


@routes.put(
    "/orders/{order_id}/lines/{product_id}",
    SIGNED_IN,
    scope="orders",
    body=LineChange,
    answer=Order,
    codes=("ok", "unknown_line", "not_for_sale", *HELD),
    opens=True,
)
async def set_order_line(request: web.Request, change: LineChange) -> web.Response:
    """Set how many units a line has: what is more is held, what is fewer is available at once."""
    return await _do(request, SET_ORDER_LINE, quantity=change.quantity, **_lifetimes(request))


@routes.delete(
    "/orders/{order_id}/lines/{product_id}",
    SIGNED_IN,
    scope="orders",
    answer=Order,
    codes=("ok", "unknown_line", "not_for_sale", *HELD),
    opens=True,
)
async def remove_order_line(request: web.Request) -> web.Response:
    """Take a line away; its units are available at once."""
    return await _do(request, SET_ORDER_LINE, quantity=0, **_lifetimes(request))


@routes.post(
    "/orders/{order_id}/checkout",
    SIGNED_IN,
    scope="orders",
    answer=Order,
    codes=("ok", "order_empty", *HELD),
    opens=True,
)
async def checkout_order(request: web.Request) -> web.Response:
    """Let the hold live on while the customer pays; an expired one is taken anew."""
    return await _do(request, CHECKOUT_ORDER, **_lifetimes(request))


@routes.post(
    "/orders/{order_id}/pay",
    SIGNED_IN,
    scope="orders",
    body=Payment,
    answer=Order,
    codes=(
        *("ok", "already_paid", "insufficient_funds", "unknown_account", "order_empty"),
        *("order_expired", "order_closed", "invalid_request", "forbidden", *UNKNOWN),
    ),
)
async def pay_order(request: web.Request, payment: Payment) -> web.Response:
    """Capture the total and let the goods leave, once; or write down that it was paid outside."""
    if payment.reference is not None and _only(request[CALLER]) is not None:
        raise Refusal("forbidden", role=request[CALLER].role)
    return await _do(request, PAY_ORDER, **msgspec.structs.asdict(payment))


@routes.post(
    "/orders/{order_id}/cancel",
    SIGNED_IN,
    scope="orders",
    answer=Order,
    codes=("ok", "already_cancelled", "order_closed", *UNKNOWN),
    opens=True,
)
async def cancel_order(request: web.Request) -> web.Response:
    """End an order that is not paid, and give back what it holds."""
    return await _do(request, CANCEL_ORDER)


@routes.post(
    "/orders/{order_id}/refund",
    STAFF,
    scope="orders",
    body=Refund,
    answer=Order,
    codes=(
        *("ok", "refund_too_large", "unknown_line", "order_not_paid", "invalid_request"),
        *("out_of_range", *UNKNOWN),
    ),
)
async def refund_order(request: web.Request, refund: Refund) -> web.Response:
    """Give money back for units of a paid order; what is restocked comes back into stock."""
    ids = ids_of(request)
    lines = ENCODER.encode(list(map(msgspec.structs.asdict, refund.lines))).decode()
    row = await call(request, REFUND_ORDER, **ids, lines=lines, actor=request[CALLER].name)
    return respond(row, **ids)


@routes.get(
    "/reports/clients",
    STAFF,
    scope="orders",
    query=ClientQuery,
    answer=SalesByClient,
    codes=("ok", "unknown_store"),
)
async def report_clients(request: web.Request, query: ClientQuery) -> web.Response:
    """What each client has paid for orders, less refunds."""
    ids = ids_of(request)
    row = await read(request, REPORT_CLIENTS, **ids, **msgspec.structs.asdict(query))
    return respond(row, **ids)


@routes.get(
    "/reports/top-products",
    STAFF,
    scope="orders",
    query=TopQuery,
    answer=TopProducts,
    codes=("ok", "unknown_store"),
)
async def report_top_products(request: web.Request, query: TopQuery) -> web.Response:
    """The five products of which orders sold most, with their category of the first level."""
    ids = ids_of(request)
    row = await read(request, REPORT_TOP_PRODUCTS, **ids, days=query.days)
    return respond(row, **ids)


async def _do(request: web.Request, statement: TextClause, **parameters: Any) -> web.Response:
    """What a verb on an order answers."""
    ids = ids_of(request)
    row = await call(request, statement, **ids, **_who(request), **parameters)
    return respond(row, **ids)


def _who(request: web.Request) -> dict[str, Any]:
    caller = request[CALLER]
    return {"user_id": _only(caller), "actor": caller.name}


def _lifetimes(request: web.Request) -> dict[str, int | None]:
    """How long a hold may live, by the settings."""
    settings = request.app[SETTINGS]
    return {
        "hold_seconds": settings.order_hold_seconds,
        "max_seconds": settings.max_hold_seconds,
    }


def _only(caller: Caller) -> int | None:
    """The one user whose orders a caller may see; None: all of the store's."""
    return caller.user_id if caller.role == "customer" else None
