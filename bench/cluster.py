"""One fresh PostgreSQL for all systems, as `make run` sets it up, and a fresh database a round."""

import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from service.database.embedded.server import Postgres

PRODUCTS = 10_000
ON_HAND = 1_000_000_000_000
"""Units of each product: more than any run asks for."""
ALL_PRODUCTS = 2 * PRODUCTS
"""Those after the first PRODUCTS are sold out."""

FILLED_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('holdfast', 'public')
    AND pg_relation_size(oid) > 0
"""


class Cluster:
    """The server, and a folder that lasts as long as it."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self.postgres = postgres
        self.folder = folder

    def url(self, database: str) -> str:
        """A database of the server, over its socket, as the superuser."""
        return urlunsplit(urlsplit(self.postgres.url)._replace(path="/" + database))

    async def version(self) -> str:
        """What the server calls itself, such as 18.6."""
        connection = await asyncpg.connect(self.postgres.url)
        version = str(await connection.fetchval("SHOW server_version"))
        await connection.close()
        return version.split()[0]

    async def make(self, name: str, fill: Callable[[str], Awaitable[None]]) -> None:
        """Make a database and fill it, once; later rounds copy it."""
        await self._administer(f"CREATE DATABASE {name}")
        await fill(self.url(name))
        await self.settle(name)

    async def settle(self, name: str) -> None:
        """Leave nothing for the measurement to do that is not its own.

        Empty tables are left as autovacuum leaves them, without statistics that say so.
        """
        connection = await asyncpg.connect(self.url(name))
        for row in await connection.fetch(FILLED_TABLES):
            await connection.execute(f"VACUUM ANALYZE {row[0]}")
        await connection.close()
        await self.checkpoint()

    async def commits(self, url: str) -> int:
        """Transactions that a database has committed, but for those of the last second."""
        connection = await asyncpg.connect(url)
        commits = await connection.fetchval(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )
        await connection.close()
        return int(commits)

    async def checkpoint(self) -> None:
        """Write what is dirty now, not while something is measured."""
        await self._administer("CHECKPOINT")

    @asynccontextmanager
    async def copy(self, template: str) -> AsyncIterator[str]:
        """URL of a copy of a database, dropped afterwards."""
        name = f"{template}_round"
        await self._administer(f"CREATE DATABASE {name} TEMPLATE {template}", "CHECKPOINT")
        try:
            yield self.url(name)
        finally:
            await self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    async def _administer(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.postgres.url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()


@asynccontextmanager
async def fresh_cluster() -> AsyncIterator[Cluster]:
    """A new server on a new folder below TMPDIR, both gone afterwards.

    HOLDFAST_BENCH_BIN_DIR names the folder of PostgreSQL's programs.
    """
    bin_dir = os.environ.get("HOLDFAST_BENCH_BIN_DIR")
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        postgres = Postgres(folder / "data", bin_dir=Path(bin_dir) if bin_dir else None)
        async with postgres:
            yield Cluster(postgres, folder)
