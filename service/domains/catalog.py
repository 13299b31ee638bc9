"""The catalog: products that a store offers, with their prices, in a tree of categories."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType
from sqlalchemy import text

from service.database.pool import Database
from service.web import responses
from service.web.auth import caller_of
from service.web.bodies import MAX_BIGINT, OutsideId
from service.web.context import CALLER, DATABASE, call, ids_of, read
from service.web.responses import ENCODER
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
LIST_CATEGORIES = text("SELECT * FROM list_categories(:store_id, :after, :limit)")
READ_CATEGORY = text("SELECT * FROM read_category(:store_id, :category_id)")
CREATE_CATEGORY = text(
    "SELECT * FROM create_category(:store_id, :category_id, :name, :parent_id, :actor)"
)
CHANGE_CATEGORY = text(
    "SELECT * FROM change_category(:store_id, :category_id, CAST(:changes AS jsonb), :actor)"
)
REMOVE_CATEGORY = text("SELECT * FROM remove_category(:store_id, :category_id, :actor)")

Name = Annotated[str, msgspec.Meta(max_length=1000)]
Price = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]
"""Of one unit, in minor units."""


Units = Annotated[int, msgspec.Meta(ge=0, le=MAX_BIGINT)]


class ChangedProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """PUT /products/{product_id}: what it is called, what one unit costs; null: not for sale.

    A field whose default is UNSET keeps its value where the body leaves it out.
    """

    name: Name
    price: Price | None
    is_active: bool = True
    category_id: OutsideId | UnsetType | None = UNSET
    """Absent: it stays in its category; null: it belongs to none."""
    low_at: Units | UnsetType | None = UNSET
    """Webhooks are told when so many units are available, or fewer; null: never."""


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /products: the same, of a new id."""

    product_id: OutsideId
    name: Name
    price: Price | None
    is_active: bool = True
    category_id: OutsideId | None = None
    low_at: Units | None = None


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
    category_id: str | None
    low_at: int | None
    """At how many units webhooks are told that it runs low; null: never."""


class Products(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of products by id; `next` is the `after` of the page that follows, or null."""

    products: list[Product]
    next: str | None


class Removal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What became of a product that was to be removed."""

    product_id: str
    is_removed: bool
    """False: it has a history, and is only offered no more."""


class NewCategory(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /categories: at the first level where it has no parent."""

    category_id: OutsideId
    name: Name
    parent_id: OutsideId | None = None


class CategoryChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """PATCH /categories/{category_id}: what is absent stays as it is."""

    name: Name | UnsetType = UNSET
    parent_id: OutsideId | UnsetType | None = UNSET
    """Null: to the first level."""


class CategoryQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /categories: which page."""

    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A category, and how many are right below it."""

    category_id: str
    name: str
    parent_id: str | None
    child_count: int


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A category of a path."""

    category_id: str
    name: str


class CategoryWithPath(Category, frozen=True, forbid_unknown_fields=True):
    """A category, and those it is part of: the one of the first level first, itself last."""

    path: list[Step]


class Categories(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of categories by id; `next` is the `after` of the page that follows, or null."""

    categories: list[Category]
    next: str | None


class CategoryRemoval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The category that was removed."""

    category_id: str


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
    codes=(
        *("created", "already_created", "product_id_reused", "unknown_category", "unknown_store"),
        "invalid_request",
    ),
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
    codes=("ok", "unknown_product", "unknown_category", "unknown_store", "invalid_request"),
)
async def update_product(request: web.Request, product: ChangedProduct) -> web.Response:
    """Set name, price, category, and whether it is offered; what was bought keeps its price."""
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
    return _given(**{**msgspec.structs.asdict(product), "product_id": UNSET})


async def _is_admin(request: web.Request) -> bool:
    return (await caller_of(request)).role in ADMINS


@routes.get(
    "/categories",
    EVERYONE,
    query=CategoryQuery,
    answer=Categories,
    codes=("ok", "unknown_store"),
)
async def list_categories(request: web.Request, query: CategoryQuery) -> web.Response:
    """Categories by id, each with its parent and how many are right below it."""
    ids = ids_of(request)
    row = await read(request, LIST_CATEGORIES, **ids, **msgspec.structs.asdict(query))
    return responses.respond(row, **ids)


@routes.get(
    "/categories/{category_id}",
    EVERYONE,
    answer=CategoryWithPath,
    codes=("ok", "unknown_category"),
)
async def read_category(request: web.Request) -> web.Response:
    """A category, with its path from the first level."""
    ids = ids_of(request)
    return responses.respond(await read(request, READ_CATEGORY, **ids), **ids)


@routes.post(
    "/categories",
    ADMINS,
    scope="admin",
    body=NewCategory,
    answer=Category,
    codes=(
        *("created", "already_exists", "category_id_reused", "unknown_category", "unknown_store"),
        "invalid_request",
    ),
)
async def create_category(request: web.Request, category: NewCategory) -> web.Response:
    """Add a category: 201. A repeat answers 200."""
    fields = msgspec.structs.asdict(category)
    actor = request[CALLER].name
    row = await call(request, CREATE_CATEGORY, **ids_of(request), **fields, actor=actor)
    return responses.respond(row, **ids_of(request), category_id=category.category_id)


@routes.patch(
    "/categories/{category_id}",
    ADMINS,
    scope="admin",
    body=CategoryChange,
    answer=Category,
    codes=("ok", "category_circle", "unknown_category"),
)
async def change_category(request: web.Request, change: CategoryChange) -> web.Response:
    """Rename a category, or move it with all that is below it."""
    ids = ids_of(request)
    changes = _given(**msgspec.structs.asdict(change))
    row = await call(request, CHANGE_CATEGORY, **ids, changes=changes, actor=request[CALLER].name)
    return responses.respond(row, **ids)


@routes.delete(
    "/categories/{category_id}",
    ADMINS,
    scope="admin",
    answer=CategoryRemoval,
    codes=("ok", "category_not_empty", "unknown_category"),
)
async def remove_category(request: web.Request) -> web.Response:
    """Remove a category that neither categories nor products are part of."""
    ids = ids_of(request)
    row = await call(request, REMOVE_CATEGORY, **ids, actor=request[CALLER].name)
    return responses.respond(row, **ids)


def _given(**fields: object) -> str:
    """The fields that a body has, as JSON."""
    return ENCODER.encode({k: v for k, v in fields.items() if v is not UNSET}).decode()
