"""The catalog: products that a store offers, with their prices."""

from typing import Annotated

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.web import responses
from service.web.auth import caller_of
from service.web.bodies import MAX_BIGINT, OutsideId
from service.web.context import CALLER, DATABASE, STORE_ID
from service.web.routing import ADMINS, EVERYONE, Routes

LIST_PRODUCTS = text(
    "SELECT * FROM list_products(:store_id, :search, :with_inactive, :after, :limit)"
)
READ_PRODUCT = text("SELECT * FROM read_product(:store_id, :product_id, :with_inactive)")
CREATE_PRODUCT = text(
    "SELECT * FROM create_product(:store_id, :product_id, :name, :price, :is_active, :actor)"
)
CHANGE_PRODUCT = text(
    "SELECT * FROM change_product(:store_id, :product_id, :name, :price, :is_active, :actor)"
)
REMOVE_PRODUCT = text("SELECT * FROM remove_product(:store_id, :product_id, :actor)")

Name = Annotated[str, msgspec.Meta(max_length=1000)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """PUT /products/{product_id}: what it is called, what one unit costs in minor units."""

    name: Name
    price: Price
    is_active: bool = True


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /products: the same, of a new id."""

    product_id: OutsideId
    name: Name
    price: Price
    is_active: bool = True


class ListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /products: `q` in name or id, and which page."""

    q: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


routes = Routes()


@routes.get("/products", EVERYONE, query=ListQuery)
async def list_products(request: web.Request, query: ListQuery) -> web.Response:
    """Products by id: `q`, `after`, `limit`; admins also see those not offered any more."""
    page = {"search": query.q, "after": query.after, "limit": query.limit}
    parameters = {"store_id": request[STORE_ID], "with_inactive": await _is_admin(request), **page}
    row = await request.app[DATABASE].read(LIST_PRODUCTS, **parameters)
    return responses.respond(row, store_id=request[STORE_ID])


@routes.get("/products/{product_id}", EVERYONE)
async def read_product(request: web.Request) -> web.Response:
    """A product, with its price in minor units and what is available."""
    ids = _ids(request)
    row = await request.app[DATABASE].read(
        READ_PRODUCT, **ids, with_inactive=await _is_admin(request)
    )
    return responses.respond(row, **ids)


@routes.post("/products", ADMINS, scope="admin", body=NewProduct)
async def create_product(request: web.Request, product: NewProduct) -> web.Response:
    """Add a product, with nothing on hand: 201. A repeat answers 200."""
    ids = {"store_id": request[STORE_ID], "product_id": product.product_id}
    parameters = msgspec.structs.asdict(product) | ids
    row = await request.app[DATABASE].call(CREATE_PRODUCT, **parameters, actor=request[CALLER].name)
    if row.result_code == "ok":
        return responses.json_response(row.document, 201)
    return responses.respond(row, **ids)


@routes.put("/products/{product_id}", ADMINS, scope="admin", body=Product)
async def change_product(request: web.Request, product: Product) -> web.Response:
    """Set name, price and whether it is offered; what was bought keeps its price."""
    ids = _ids(request)
    row = await request.app[DATABASE].call(
        CHANGE_PRODUCT, **ids, **msgspec.structs.asdict(product), actor=request[CALLER].name
    )
    return responses.respond(row, **ids)


@routes.delete("/products/{product_id}", ADMINS, scope="admin")
async def remove_product(request: web.Request) -> web.Response:
    """Remove a product; one that has a history is only offered no more: see `is_removed`."""
    ids = _ids(request)
    row = await request.app[DATABASE].call(REMOVE_PRODUCT, **ids, actor=request[CALLER].name)
    return responses.respond(row, **ids)


async def _is_admin(request: web.Request) -> bool:
    return (await caller_of(request)).role in ADMINS


def _ids(request: web.Request) -> dict[str, str]:
    return {"store_id": request[STORE_ID], "product_id": request.match_info["product_id"]}
