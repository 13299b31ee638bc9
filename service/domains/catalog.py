"""The catalog: products that a store offers, with their prices."""

from typing import Annotated

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.database.pool import Database
from service.web import responses
from service.web.auth import caller_of
from service.web.bodies import MAX_BIGINT, OutsideId
from service.web.context import CALLER, DATABASE, call, ids_of, read
from service.web.routing import ADMINS, ANONYMOUS, EVERYONE, Routes

LIST_PRODUCTS = text(
    "SELECT * FROM list_products(:store_id, :search, :with_inactive, :after, :limit)"
)
READ_PRODUCT = text("SELECT * FROM read_product(:store_id, :product_id, :with_inactive)")
ADD_PRODUCT = text(
    "SELECT * FROM add_product(:store_id, :product_id, CAST(:fields AS jsonb), :actor)"
)
UPDATE_PRODUCT = text(
    "SELECT * FROM update_product(:store_id, :product_id, CAST(:fields AS jsonb), :actor)"
)
REMOVE_PRODUCT = text("SELECT * FROM remove_product(:store_id, :product_id, :actor)")

Name = Annotated[str, msgspec.Meta(max_length=1000)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]
"""Of one unit, in minor units."""


class ChangedProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """PUT /products/{product_id}: what it is called, what one unit costs; null: not for sale.

    A field whose default is UNSET keeps its value where the body leaves it out.
    """

    name: Name
    price: Price | None
    is_active: bool = True


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /products: the same, of a new id."""

    product_id: OutsideId
    name: Name
    price: Price | None
    is_active: bool = True


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /products: `q` in name or id, and which page."""

    q: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product, with what the next caller can have of it."""

    product_id: str
    name: str
    price: int | None
    """Of one unit, in minor units; null: not for sale."""
    is_active: bool
    """False: it is offered no more."""
    available: int


class Products(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of products by id; `next` is the `after` of the page that follows, or null."""

    products: list[Product]
    next: str | None


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a product that was to be removed."""

    product_id: str
    is_removed: bool
    """False: it has a history, and is only offered no more."""


SEARCHES = web.AppKey("SEARCHES", Database)
"""The connections that searches of people who have not signed in share, in this process."""
SEARCHES_AT_ONCE = 2
SEARCH_TIMEOUT = "1s"
"""Ten times what any search among 300,000 products was seen to take (sql/catalog/find_products)."""

routes = Routes()


def set_up(app: web.Application) -> None:
    """Set connections apart, so that no storm of searches takes those that all stores share."""
    app[SEARCHES] = app[DATABASE].share(SEARCHES_AT_ONCE, statement_timeout=SEARCH_TIMEOUT)


@routes.get("/products", EVERYONE, query=ListQuery, answer=Products, codes=("ok", "unknown_store"))
async def list_products(request: web.Request, query: ListQuery) -> web.Response:
    """Products by id: `q`, `after`, `limit`; admins also see those not offered any more."""
    role = (await caller_of(request)).role
    is_search_of_anybody = query.q is not None and role == ANONYMOUS.role
    row = await request.app[SEARCHES if is_search_of_anybody else DATABASE].read(
        LIST_PRODUCTS,
        **ids_of(request),
        search=query.q,
        with_inactive=role in ADMINS,
        after=query.after,
        limit=query.limit,
    )
    return responses.respond(row, **ids_of(request))


@routes.get(
    "/products/{product_id}",
    EVERYONE,
    answer=Product,
    codes=("ok", "unknown_product", "unknown_store"),
)
async def read_product(request: web.Request) -> web.Response:
    """A product, with its price in minor units and what is available."""
    ids = ids_of(request)
    row = await read(request, READ_PRODUCT, **ids, with_inactive=await _is_admin(request))
    return responses.respond(row, **ids)


@routes.post(
    "/products",
    ADMINS,
    scope="admin",
    body=NewProduct,
    answer=Product,
    codes=("created", "already_created", "product_id_reused", "unknown_store", "invalid_request"),
)
async def add_product(request: web.Request, product: NewProduct) -> web.Response:
    """Add a product, with nothing on hand: 201. A repeat answers 200."""
    ids = {**ids_of(request), "product_id": product.product_id}
    row = await call(
        request, ADD_PRODUCT, **ids, fields=_fields(product), actor=request[CALLER].name
    )
    return responses.respond(row, **ids)


@routes.put(
    "/products/{product_id}",
    ADMINS,
    scope="admin",
    body=ChangedProduct,
    answer=Product,
    codes=("ok", "unknown_product", "unknown_store", "invalid_request"),
)
async def update_product(request: web.Request, product: ChangedProduct) -> web.Response:
    """Set name, price and whether it is offered; what was bought keeps its price."""
    ids = ids_of(request)
    row = await call(
        request, UPDATE_PRODUCT, **ids, fields=_fields(product), actor=request[CALLER].name
    )
    return responses.respond(row, **ids)


@routes.delete(
    "/products/{product_id}",
    ADMINS,
    scope="admin",
    answer=Removal,
    codes=("ok", "unknown_product", "unknown_store"),
)
async def remove_product(request: web.Request) -> web.Response:
    """Remove a product; one that has a history is only offered no more: see `is_removed`."""
    ids = ids_of(request)
    row = await call(request, REMOVE_PRODUCT, **ids, actor=request[CALLER].name)
    return responses.respond(row, **ids)


def _fields(product: NewProduct | ChangedProduct) -> str:
    """What a body says of a product beside its id, as JSON."""
    given = msgspec.structs.asdict(product).items()
    fields = {
        name: value for name, value in given if name != "product_id" and value is not msgspec.UNSET
    }
    return responses.ENCODER.encode(fields).decode()


async def _is_admin(request: web.Request) -> bool:
    return (await caller_of(request)).role in ADMINS
