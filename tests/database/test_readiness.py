"""Ready means that a reservation could be made now; what is in the way is named, and is no 500."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient

from service.app import create_app
from service.database.pool import Database
from service.settings import Settings
from service.web.context import ROUTES
from tests.support.aliases import Api
from tests.support.databases import empty_database
from tests.support.servers import RealServer

READY = "/health/ready"


@pytest.fixture
async def on_nothing(cluster: str) -> AsyncIterator[Api]:
    """A client of a service whose database has no schema yet."""
    async with empty_database(cluster) as url:
        client: Api = TestClient(RealServer(create_app(Settings(), Database(url))))
        async with client:
            yield client


async def test_while_the_schema_is_missing_every_route_says_503_or_refuses(on_nothing: Api) -> None:
    ready = await on_nothing.get(READY)
    assert ready.status == 503
    assert "python -m service migrate" in (await ready.json())["detail"]
    assert on_nothing.app
    statuses: Counter[int] = Counter()
    for route in on_nothing.app[ROUTES].values():
        path = route.prefixes[0] + route.path
        for name in ("store_id", "reservation_id", "product_id", "user_id", "order_id"):
            path = path.replace("{" + name + "}", "7")
        response = await on_nothing.request(route.method, path.replace("{", "").replace("}", ""))
        assert response.status != 500, path
        statuses[response.status] += 1
    assert statuses[503] > 5


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "REVOKE EXECUTE ON FUNCTION reserve_stock FROM holdfast_service",
            "permission denied for function reserve_stock. To mend it: python -m service migrate",
        ),
        ("REVOKE USAGE ON SCHEMA holdfast FROM holdfast_service", "python -m service migrate"),
        ("DROP FUNCTION reserve_stock", "does not exist. To mend it: python -m service migrate"),
        (
            "CREATE OR REPLACE FUNCTION reserve_stock_batch() RETURNS int LANGUAGE sql AS 'SELECT"
            " 1'; ALTER FUNCTION lock_stock RENAME TO lock_stock_no_more",
            "",
        ),
    ],
)
async def test_what_keeps_a_reservation_from_being_made_is_named(
    api: Api, sql: Any, statement: str, said: str
) -> None:
    assert (await api.get(READY)).status == 200
    await sql.execute(statement)
    ready = await api.get(READY)
    answer = await ready.json()
    if said:
        assert (ready.status, answer["code"]) == (503, "database_unavailable")
        assert said in answer["detail"]
    assert ready.status in (200, 503)


async def test_a_standby_is_not_ready(dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await admin.close()
    client: Api = TestClient(RealServer(create_app(Settings(), Database(dsn))))
    async with client as api:
        ready = await api.get(READY)
        assert ready.status == 503
        assert "read-only transaction: a standby?" in (await ready.json())["detail"]


async def test_asking_whether_it_is_ready_writes_nothing(api: Api, sql: Any) -> None:
    tables = await sql.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace ="
                             " 'holdfast'::regnamespace")  # fmt: skip
    counts = " UNION ALL ".join(f"SELECT '{t['relname']}', count(*), max(xmin::text::bigint) "
                                f"FROM {t['relname']}" for t in tables)  # fmt: skip
    before = await sql.fetch(counts)
    for _ in range(3):
        assert (await api.get(READY)).status == 200
    assert await sql.fetch(counts) == before
