"""Growth: databases that hold millions of reservations before the load begins."""

import sys
from collections.abc import Awaitable, Callable

import asyncpg
from tqdm import tqdm

from bench.cluster import PRODUCTS, Cluster
from bench.load import Figures
from bench.report import PGBENCH_CLIENTS
from bench.systems import UNIFORM, System

CHUNK = 250_000
FIRST_ID = 8_000_000_000_000_000_000
"""Above every id that a load uses."""

RESERVATIONS = """
INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity, requested_at)
SELECT 'main', ($1::bigint + n)::text, 1, 'callback', (n::bigint * 7919 % $4 + 1)::text, 1,
    '2026-11-21T10:00:00Z'
FROM generate_series($2::int, $3::int) AS n
"""
RESERVED = """
UPDATE stock AS s SET reserved = n.quantity
FROM (SELECT product_id, sum(quantity) AS quantity FROM reservations GROUP BY 1) AS n
WHERE s.store_id = 'main' AND s.product_id = n.product_id
"""


async def store(cluster: Cluster, holdfast: System, rows: int) -> str:
    """Make a database with so many reservations, each of one line; its URL."""
    name = f"growth_{rows}"
    await cluster.make(name, holdfast.fill)
    connection = await asyncpg.connect(cluster.url(name), command_timeout=None)
    await connection.execute("SET search_path = holdfast")
    # Set-based and without looking up every foreign key: the check afterwards proves the books.
    await connection.execute("SET session_replication_role = replica")
    with tqdm(total=rows, desc=f"storing {rows:,}", unit="row", file=sys.stderr) as bar:
        for first in range(1, rows + 1, CHUNK):
            last = min(first + CHUNK - 1, rows)
            await connection.execute(RESERVATIONS, FIRST_ID, first, last, PRODUCTS)
            bar.update(last - first + 1)
    await connection.execute(RESERVED)
    await connection.close()
    await cluster.settle(name)
    return cluster.url(name)


def step(
    cluster: Cluster, holdfast: System, url: str, seconds: float
) -> Callable[[], Awaitable[Figures]]:
    """A round on such a database; what it adds stays."""

    async def take() -> Figures:
        await cluster.checkpoint()
        return await holdfast.measure_on(cluster, url, UNIFORM, PGBENCH_CLIENTS, seconds)

    return take
