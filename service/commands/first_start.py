"""What a store has to begin with: in development an admin; with --demo stock, people and tables."""

import asyncio
import logging
import secrets
from pathlib import Path

from service.commands.import_stock import import_file
from service.commands.user import CREATE_USER, FIRST_ADMIN, create_first_admin
from service.database.connections import connected
from service.database.roles import OWNER
from service.settings import Settings
from service.web.passwords import HASHER

DEMO = Path(__file__).with_name("demo.csv")
HAS_NO_PRODUCTS = "SELECT NOT EXISTS (SELECT FROM products WHERE store_id = $1)"
HAS_NO_USERS = "SELECT NOT EXISTS (SELECT FROM users WHERE store_id = $1)"
HAS_NO_TABLES = "SELECT NOT EXISTS (SELECT FROM dining_tables WHERE store_id = $1)"
ADD_TABLE = "SELECT * FROM add_table($1, $2, $3, $4, true, NULL)"
FIRST_TABLE = (
    "SELECT min(table_id) FROM dining_tables WHERE store_id = $1 AND is_open"
    " AND EXISTS (SELECT FROM users WHERE store_id = $1 AND login = $2)"
)

DEMO_CUSTOMERS = ("cutomer", "josh", "mike")
"""As the older service of tables named them in its document, the spelling is theirs."""
DEMO_PASSWORD = "1"  # noqa: S105
"""Also the admin's. Only requests are held to the rules of passwords; this one comes from here."""
DEMO_TABLES = (
    ("regular", 2, 20000),
    ("regular", 4, 50000),
    ("cabin", 6, 90000),
    ("room", 12, 250000),
)
HOW_TO_TRY = (
    "Demonstration: admin, cutomer, josh and mike sign in with the password {password}. A guest "
    "asks for a table: curl -u josh:{password} -X POST '{url}/api/customer/book_table/?id={id}'; "
    "staff see it: curl -u admin:{password} {url}/api/admin/view_active_bookings/; more is in "
    "docs/earlier-clients.md"
)

logger = logging.getLogger("holdfast.serve")


async def fill_store(settings: Settings, owner_dsn: str, *, demo: bool) -> None:
    """Give a developer something to begin with; production gets nothing that it did not ask for."""
    is_development = settings.environment == "development"
    async with connected(owner_dsn, OWNER) as connection:
        is_empty = await connection.fetchval(HAS_NO_PRODUCTS, settings.store)
    if is_empty and demo and is_development:
        await import_file(owner_dsn, settings.store, DEMO, add=False)
    elif is_empty:
        if demo:
            logger.warning("--demo is for development: no demonstration stock is loaded")
        logger.info(
            "Store %s has no products yet. Load some: python -m service import-stock FILE.csv "
            "(header: product_id,name,quantity,price)",
            settings.store,
        )
    if is_development and demo:
        await make_demo(settings, owner_dsn)
    if is_development:
        await make_admin(settings, owner_dsn)


async def make_demo(settings: Settings, owner_dsn: str) -> None:
    """Give a store without users those of the older service's document, and tables; tell how to
    try them.
    """
    store_id = settings.store
    async with connected(owner_dsn, OWNER) as connection:
        if await connection.fetchval(HAS_NO_USERS, store_id):
            await create_first_admin(owner_dsn, store_id, DEMO_PASSWORD)
            password_hash = await asyncio.to_thread(HASHER.hash, DEMO_PASSWORD)
            for login in DEMO_CUSTOMERS:
                customer = (store_id, login, password_hash, "customer", None)
                await connection.fetchrow(CREATE_USER, *customer)
            if await connection.fetchval(HAS_NO_TABLES, store_id):
                for table in DEMO_TABLES:
                    await connection.fetchrow(ADD_TABLE, store_id, *table)
        table_id = await connection.fetchval(FIRST_TABLE, store_id, DEMO_CUSTOMERS[0])
    if table_id:
        logger.info(HOW_TO_TRY.format(password=DEMO_PASSWORD, url=settings.link_base, id=table_id))


async def make_admin(settings: Settings, owner_dsn: str) -> None:
    """Let a developer sign in: a store without an admin gets one, whose password is told once."""
    password = secrets.token_urlsafe(12)
    row = await create_first_admin(owner_dsn, settings.store, password)
    if row["result_code"] == "created":
        logger.warning(
            "Development: sign in as %s with the password %s, which is not shown again",
            FIRST_ADMIN,
            password,
        )
