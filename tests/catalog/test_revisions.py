"""What the revisions make of products that were there before."""

import asyncio
from typing import Any

from alembic import command
from alembic.script import ScriptDirectory

from service.database import migrate
from service.database.connections import connected
from service.database.roles import OWNER
from tests.support.databases import empty_database

PRODUCTS = """
INSERT INTO stores (store_id) VALUES ('main');
INSERT INTO products (store_id, product_id, price) VALUES
    ('main', 'supplied', 0), ('main', 'priced', 250)
"""
PRICES = "SELECT product_id, price FROM products ORDER BY 1"


async def prices(url: str, statement: str = "SELECT") -> dict[str, int | None]:
    """What each product costs after a statement of a DBA."""
    async with connected(url, OWNER) as owner:
        await owner.execute(statement)
        return dict(await owner.fetch(PRICES))


async def test_products_at_zero_have_no_price_after_the_upgrade_once(cluster: str) -> None:
    async with empty_database(cluster) as url:
        config = migrate.alembic_config(url)
        await asyncio.to_thread(command.upgrade, config, "0007")
        assert await prices(url, PRODUCTS) == {"priced": 250, "supplied": 0}
        await migrate.upgrade_in_thread(url)
        assert await prices(url) == {"priced": 250, "supplied": None}

        on_purpose = await prices(url, "UPDATE products SET price = 0 WHERE product_id = 'priced'")
        await migrate.upgrade_in_thread(url)
        assert await prices(url) == on_purpose == {"priced": 0, "supplied": None}

        await asyncio.to_thread(migrate.downgrade, url, "0007")
        assert await prices(url) == {"priced": 0, "supplied": 0}


async def test_the_log_says_that_an_upgrade_took_a_price_away(sql: Any) -> None:
    """The triggers of the release before stand while its database is upgraded."""
    await sql.execute(PRODUCTS)
    revision = ScriptDirectory.from_config(migrate.alembic_config("")).get_revision("0009")
    async with sql.transaction():
        for statement in revision.module.UPGRADE:
            await sql.execute(statement)
    row = await sql.fetchrow("SELECT actor, subject, details FROM audit_log")
    assert tuple(row) == ("revision 0009", "products/supplied", '{"price": {"from": 0}}')
