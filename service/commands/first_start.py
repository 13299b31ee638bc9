"""What a store has to begin with: in development a small stock and an admin."""

import logging
import secrets
from pathlib import Path

from service.commands.import_stock import import_file
from service.commands.user import FIRST_ADMIN, create_first_admin
from service.database.connections import connected
from service.database.roles import OWNER
from service.settings import Settings

DEMO = Path(__file__).with_name("demo.csv")
HAS_NO_PRODUCTS = "SELECT NOT EXISTS (SELECT FROM products WHERE store_id = $1)"

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
    if is_development:
        await make_admin(settings, owner_dsn)


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
