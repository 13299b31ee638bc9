"""What reserving costs PostgreSQL, beside another release: python -m bench.functions --before PATH

Both releases install their schema in a database each of one new server. One backend a database
calls the batch function; its time on a processor, by the scheduler's count, and the WAL it writes
are told per reservation. Rounds alternate in short turns, so that whoever else uses the machine
takes the same from both; the lower quartile of the rounds counts. `git worktree add --detach PATH
COMMIT` gives the other release a folder.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import asyncpg

from bench.cluster import ON_HAND, PRODUCTS, Cluster, fresh_cluster
from bench.cpu import seconds
from bench.growth import CHUNK, FIRST_ID
from service.settings import ROOT

SIZES = [8, 32, 64]
VERBS = ["commit", "release", "extend"]
KINDS = [
    *("uniform", "hot", "sold out", "half sold out"),
    *("baskets", "half baskets", *VERBS),
]
SOLD_OUT = PRODUCTS + 1
_chance = random.Random(15)  # noqa: S311
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
# The release of two tables, and of one: what calls the function, and what stores many at once.
CALLS = {
    False: "SELECT array_agg(result_code ORDER BY n), array_agg(refused_lines ORDER BY n)"
    " FROM reserve_stock_batch('main', $1::text[], $2::timestamptz[], $3::interval[], $4::int[],"
    " $5::text[], $6::bigint[]) WITH ORDINALITY AS a (result_code, refused_lines, n)",
    True: "SELECT * FROM reserve_stock_batch('main', $1::text[], array_fill('key:17'::text,"
    " ARRAY[cardinality($1::text[])]), $2::timestamptz[], $3::interval[], interval '1 day',"
    " $4::int[], $5::text[], $6::bigint[])",
}
STORED = {
    False: [
        "INSERT INTO reservations (store_id, reservation_id, kind, requested_at)"
        " SELECT 'main', ($1::bigint + n)::text, 'callback', $5::timestamptz"
        " FROM generate_series($2::int, $3::int) AS n WHERE $4::int > 0",
        "INSERT INTO reservation_lines (store_id, reservation_id, product_id, quantity)"
        " SELECT 'main', ($1::bigint + n)::text, (n::bigint * 7919 % $4 + 1)::text, 1"
        " FROM generate_series($2::int, $3::int) AS n WHERE $5::timestamptz IS NOT NULL",
    ],
    True: [
        "INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,"
        " requested_at, made_by) SELECT 'main', ($1::bigint + n)::text, 1, 'callback',"
        " (n::bigint * 7919 % $4 + 1)::text, 1, $5::timestamptz, 'key:17'"
        " FROM generate_series($2::int, $3::int) AS n",
    ],
}
RESERVED = """
UPDATE stock AS s SET reserved = n.quantity
FROM (SELECT product_id, sum(quantity) AS quantity FROM {} GROUP BY 1) AS n
WHERE s.store_id = 'main' AND s.product_id = n.product_id
"""
_numbers = iter(range(10**12, 10**18))


@dataclass
class Release:
    """One release's database, and what its rounds have cost."""

    name: str
    url: str
    connection: Any
    has_one_table: bool
    stored: int = 0
    """Reservations that were there before the first round."""
    costs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """By what was measured: microseconds and bytes of WAL per reservation, round by round."""

    async def call(self, lines: "Lines") -> None:
        """Reserve a batch."""
        numbers = [number for number, _, _ in lines.lines]
        is_single = len(numbers) == len(lines.ids)
        await self.connection.fetchrow(
            CALLS[self.has_one_table],
            lines.ids,
            [lines.requested_at] * len(lines.ids),
            [lines.ttl] * len(lines.ids),
            None if is_single else numbers,
            [product for _, product, _ in lines.lines],
            [quantity for _, _, quantity in lines.lines],
        )

    async def cost(self, work: Callable[[], Any], count: int) -> tuple[float, float]:
        """Microseconds and bytes of WAL of work for so many reservations."""
        pid = self.connection.get_server_pid()
        wal = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
        spent, written = seconds(pid), await self.connection.fetchval(wal)
        await work()
        spent = seconds(pid) - spent
        written = await self.connection.fetchval(wal) - written
        return spent * 1e6 / count, float(written) / count


@dataclass
class Lines:
    """A batch as both releases take it."""

    ids: list[str]
    lines: list[tuple[int, str, int]]
    requested_at: datetime | None = NOW
    ttl: timedelta | None = None


def batch(kind: str, size: int, stored: int = 0) -> Lines:
    """A new batch of a kind; random ids lie between those stored."""
    ids = [str(next(_numbers)) for _ in range(size)]
    if kind == "random ids":
        ids = [f"{FIRST_ID + _chance.randint(1, stored)}.{each}" for each in ids]
    if "baskets" in kind:
        lines = [
            (number, str(product), 1)
            for number in range(1, size + 1)
            for product in _chance.sample(range(1, PRODUCTS + 1), 3)
        ]
        if kind != "baskets":
            lines[::6] = [(number, str(SOLD_OUT), 1) for number, _, _ in lines[::6]]
        return Lines(ids, lines, None, timedelta(hours=1))
    chosen: dict[str, Callable[[], int]] = {
        "hot": lambda: 1,
        "sold out": lambda: SOLD_OUT,
        "half sold out": lambda: _chance.choice((_chance.randint(1, PRODUCTS), SOLD_OUT)),
    }
    product = chosen.get(kind, lambda: _chance.randint(1, PRODUCTS))
    return Lines(ids, [(number, str(product()), 1) for number in range(1, size + 1)])


async def open_release(
    cluster: Cluster, stack: AsyncExitStack, root: Path, name: str, rows: int
) -> Release:
    """Install a release in a database of its own, with so many reservations stored."""
    database = f"{name}_{rows}"

    async def fill(url: str) -> None:
        environment = {**os.environ, "HOLDFAST_DATABASE_URL": url}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "migrate"), cwd=root, env=environment
        )
        if await process.wait():
            raise SystemExit(f"{root} cannot be installed")
        connection = await _connected(url)
        await connection.execute("SELECT create_store('main')")
        await connection.execute(
            "INSERT INTO products (store_id, product_id)"
            " SELECT 'main', n::text FROM generate_series(1, $1::int) AS n",
            SOLD_OUT,
        )
        await connection.execute(
            "UPDATE stock SET on_hand = $1 WHERE product_id <> $2", ON_HAND, str(SOLD_OUT)
        )
        if rows:
            await _store(connection, rows)
        await connection.close()

    await cluster.make(database, fill)
    connection = await _connected(cluster.url(database))
    stack.push_async_callback(connection.close)
    has_one_table = await _has_one_table(connection)
    return Release(name, cluster.url(database), connection, has_one_table, rows)


async def _connected(url: str) -> Any:
    settings = {"search_path": "holdfast, pg_temp", "jit": "off", "timezone": "UTC"}
    return await asyncpg.connect(url, server_settings=settings, command_timeout=None)


async def _has_one_table(connection: Any) -> bool:
    return bool(await connection.fetchval("SELECT to_regclass('reservation_lines') IS NULL"))


async def _store(connection: Any, rows: int) -> None:
    """Past triggers and foreign keys, set by set."""
    await connection.execute("SET session_replication_role = replica")
    has_one_table = await _has_one_table(connection)
    for first in range(1, rows + 1, CHUNK):
        last = min(first + CHUNK - 1, rows)
        for statement in STORED[has_one_table]:
            await connection.execute(statement, FIRST_ID, first, last, PRODUCTS, NOW)
    table = "reservations" if has_one_table else "reservation_lines"
    await connection.execute(RESERVED.format(table))


async def reserve(release: Release, kind: str, size: int) -> None:
    """One turn of some batches."""
    batches = [batch(kind, size, release.stored) for _ in range(max(12, 640 // size))]

    async def work() -> None:
        for each in batches:
            await release.call(each)

    cost = await release.cost(work, size * len(batches))
    release.costs.setdefault(f"{kind}, {size}", []).append(cost)


async def resolve(release: Release, verb: str) -> None:
    """One turn of a verb on holds of one line, made for it."""
    made = batch("uniform", 40)
    made.requested_at, made.ttl = None, timedelta(hours=1)
    await release.call(made)
    more = ", '2 hours', '1 day'" if verb == "extend" else ""
    statement = f"SELECT * FROM {verb}_reservation('main', $1{more})"  # noqa: S608

    async def work() -> None:
        for reservation_id in made.ids:
            await release.connection.fetchrow(statement, reservation_id)

    release.costs.setdefault(verb, []).append(await release.cost(work, len(made.ids)))


async def take_turns(
    cluster: Cluster, releases: Sequence[Release], kinds: Sequence[str], rounds: int, title: str
) -> None:
    """All that is measured, in turns."""
    for number in range(rounds + 1):
        if "random ids" in kinds:
            await cluster.checkpoint()
        for release in releases if number % 2 else releases[::-1]:
            for kind in kinds:
                if kind in VERBS:
                    await resolve(release, kind)
                else:
                    for size in SIZES[:2] if "baskets" in kind else SIZES:
                        await reserve(release, kind, size)
            if number == 0:  # to warm up
                release.costs.clear()
    print(f"\n{title}\n" + table(releases), flush=True)


def table(releases: Sequence[Release]) -> str:
    """Lower quartiles side by side, and the second as a part of the first."""
    head = [f"{each.name} µs | {each.name} WAL" for each in releases]
    lines = [f"| | {' | '.join(head)} | ratio |", "|---|" + "--:|" * (2 * len(releases) + 1)]
    for what in releases[0].costs:
        found = [
            [quantiles(column, n=4)[0] for column in zip(*release.costs[what], strict=True)]
            for release in releases
        ]
        cells = " | ".join(f"{us:.1f} | {wal:.0f} B" for us, wal in found)
        lines.append(f"| {what} | {cells} | {found[-1][0] / found[0][0]:.2f} |")
    return "\n".join(lines)


async def sizes(releases: Sequence[Release], rows: int) -> None:
    """Bytes that a stored reservation takes, with its indexes."""
    for release in releases:
        size = await release.connection.fetchval(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class"
            " WHERE relname IN ('reservations', 'reservation_lines')"
            " AND relnamespace = 'holdfast'::regnamespace AND relkind = 'r'"
        )
        print(f"{release.name}: {size / rows:.0f} bytes a stored reservation", flush=True)


async def measure(arguments: argparse.Namespace) -> None:
    """Empty, then with many stored: ids that rise, and ids at random."""
    roots = {"before": arguments.before, "after": arguments.after}
    async with fresh_cluster() as cluster, AsyncExitStack() as stack:
        print(f"PostgreSQL {await cluster.version()}, {arguments.rounds} rounds", flush=True)
        empty = [await open_release(cluster, stack, root, n, 0) for n, root in roots.items()]
        await take_turns(cluster, empty, arguments.only, arguments.rounds, "empty")
        if not arguments.rows:
            return
        began = time.monotonic()
        full = [
            await open_release(cluster, stack, root, n, arguments.rows) for n, root in roots.items()
        ]
        print(f"\n{arguments.rows:,} stored in {time.monotonic() - began:.0f} s", flush=True)
        await sizes(full, arguments.rows)
        for release in empty:
            release.costs.clear()
            release.name += " empty"
        await take_turns(
            cluster, [*full, empty[-1]], ["uniform"], arguments.rounds, "stored, rising ids"
        )
        await take_turns(
            cluster, full, ["random ids"], arguments.rounds, "stored, after a checkpoint each round"
        )


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench.functions", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="the other release's folder")
    parser.add_argument("--after", type=Path, default=ROOT, help="this one's (%(default)s)")
    parser.add_argument("--only", nargs="+", default=KINDS, choices=KINDS, help="on an empty store")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--rows", type=int, default=10_000_000, help="stored; 0: only empty")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
