"""The feed under a crowd: how soon all sockets of a store are told, and what reserving costs then.

    python bench/feed.py --sockets 2000 --rounds 3

starts a PostgreSQL and the service, and prints JSON. `told_ms`: from just before an UPDATE is sent
to when the last socket has received its message, on a quiet service and under load. `rate`:
reservations a second with wrk, 64 connections, uniform over the store's items, without and with
the sockets, which then receive every (folded) change. All run on one machine: the sockets'
clients take their share of it.

    python bench/feed.py watch HOST PORT PATH COUNT

is the crowd, a process of its own: it says `ready`, then for each `expect NEEDLE` on its input
waits until every socket has received these bytes, and says when the last and the median one had
(seconds of the monotonic clock, which processes share).
"""

import argparse
import asyncio
import json
import os
import re
import resource
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import asyncpg  # noqa: E402

from service.database import migrate  # noqa: E402
from service.database.embedded.server import Postgres  # noqa: E402

FEED = "/api/v1/ws/stores/main"
ITEMS = 10
PROBE = "probe"
"""An item that is not reserved: only we change it."""
PROBES = 15
PING, PONG = b"\x89\x00", b"\x8a\x80\0\0\0\0"
CHUNK = 65536
LUA = """
local number, threads = 0, 0
function setup(thread) thread:set("thread_number", threads); threads = threads + 1 end
function request()
    number = number + 1
    local id = string.format("%%d%%09d", %(run)d * 10 + thread_number + 1, number)
    local body = '{"reservation_id":"' .. id .. '","product_id":"' .. (number %% %(items)d + 1) ..
        '","quantity":1,"timestamp":"2026-11-21T10:00:00Z"}'
    return wrk.format("POST", "/api/v1/reserve", {["Content-Type"]="application/json"}, body)
end
function done(summary, latency)
    local form = '{"rate": %%.1f, "p50_ms": %%.2f, "p99_ms": %%.2f, "refused": %%d, "late": %%d}'
    io.write(string.format(form,
        summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000,
        latency:percentile(99) / 1000, summary.errors.status, summary.errors.timeout
        + summary.errors.read + summary.errors.connect))
end
"""


class Crowd:
    """So many sockets on one path, all in one thread; each is read and forgotten."""

    def __init__(self, host: str, port: int, path: str, count: int) -> None:
        raise_file_limit(count)
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        handshake = (
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ).encode()
        for _ in range(count):
            each = socket.create_connection((host, port))
            each.sendall(handshake)
            answer = each.recv(CHUNK)
            while b'"report":[' not in answer:
                if not (more := each.recv(CHUNK)):
                    raise SystemExit(f"refused: {answer!r}")
                answer += more
            each.setblocking(False)
            self._sockets[each.fileno()] = each
            self._poll.register(each, select.EPOLLIN)
        self._poll.register(sys.stdin, select.EPOLLIN)

    def run(self) -> None:
        """Read everything until the input ends; answer what is asked there."""
        needle, missing, times = b"", set[int](), list[float]()
        tails: dict[int, bytes] = {}
        while True:
            for number, _ in self._poll.poll():
                if number == sys.stdin.fileno():
                    line = os.read(number, CHUNK)
                    if not line:
                        return
                    needle = line.decode().removeprefix("expect ").strip().encode()
                    missing, times, tails = set(self._sockets), [], {}
                    continue
                data = self._read(number)
                if number not in missing:
                    continue
                data = tails.get(number, b"") + data
                tails[number] = data[-len(needle) :]
                if needle in data:
                    missing.discard(number)
                    times.append(time.monotonic())
                    if not missing:
                        print(json.dumps([times[-1], statistics.median(times)]), flush=True)

    def _read(self, number: int) -> bytes:
        try:
            data = self._sockets[number].recv(CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise SystemExit("a socket was closed")
        if PING in data:
            self._sockets[number].sendall(PONG)
        return data


def raise_file_limit(count: int) -> None:
    """Let this process, and those it starts, have so many sockets open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        wanted = count + 200 if hard == resource.RLIM_INFINITY else min(count + 200, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Watching:
    """A crowd in a process of its own, and the connection that changes what it watches."""

    def __init__(self, process: asyncio.subprocess.Process, owner: asyncpg.Connection) -> None:
        self._process = process
        self._owner = owner
        self._number = 10**9

    async def told(self) -> tuple[float, float]:
        """Change the probe: seconds until the last socket was told, and the median one."""
        assert self._process.stdin
        assert self._process.stdout
        self._number += 1
        self._process.stdin.write(f'expect "quantity":{self._number},\n'.encode())
        await asyncio.sleep(0.3)  # it has read that; and nothing is folded with the last change
        began = time.monotonic()
        await self._owner.execute(
            "UPDATE stock SET on_hand = $1 WHERE product_id = $2", self._number, PROBE
        )
        async with asyncio.timeout(30):
            last, median = json.loads(await self._process.stdout.readline())
        return last - began, median - began


@asynccontextmanager
async def watching(
    host: str, port: int, count: int, owner: asyncpg.Connection
) -> AsyncIterator[Watching]:
    """A crowd of `count` sockets, connected; they leave at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "watch", host, str(port), FEED, str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        async with asyncio.timeout(120):
            assert await process.stdout.readline() == b"ready\n"
        yield Watching(process, owner)
    finally:
        process.stdin.close()
        await process.wait()


def wait_for_address(log: Path, processes: int) -> tuple[str, int]:
    """Where a service serves, as its log says once all its processes do."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = log.read_text()
        serving = re.search(r"Serving on http://([\d.]+):(\d+)", text)
        if serving and (processes == 1 or text.count(" serves\n") >= processes):
            return serving[1], int(serving[2])
        time.sleep(0.05)
    raise SystemExit(f"The service does not start:\n{text}")


@asynccontextmanager
async def service(dsn: str, processes: int, log: Path) -> AsyncIterator[tuple[str, int]]:
    """The service on a database, at the address that is given back."""
    with log.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "serve"),
            cwd=ROOT,
            env=os.environ
            | {
                "HOLDFAST_DATABASE_URL": dsn,
                "HOLDFAST_PORT": "0",
                "HOLDFAST_PROCESSES": str(processes),
            },
            stdout=output,
            stderr=output,
        )
    try:
        yield await asyncio.to_thread(wait_for_address, log, processes)
    finally:
        process.terminate()
        await process.wait()


async def reserve(host: str, port: int, run: int, seconds: int, script: Path) -> dict[str, float]:
    """Reservations with wrk: {"rate", "p50_ms", "p99_ms", "refused", "late"}."""
    await asyncio.to_thread(script.write_text, LUA % {"run": run, "items": ITEMS})
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t2", "-c64", f"-d{seconds}s", "-s", str(script), f"http://{host}:{port}"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    answer: dict[str, float] = json.loads(output.splitlines()[-1])
    return answer


async def fill(owner: asyncpg.Connection) -> None:
    """A small store with more than can be reserved."""
    items = [*(str(item) for item in range(1, ITEMS + 1)), PROBE]
    await owner.execute("SET search_path = holdfast, pg_temp")
    await owner.execute("SELECT create_store('main')")
    await owner.execute(
        "INSERT INTO products (store_id, product_id) SELECT 'main', unnest($1::text[])", items
    )
    await owner.execute("UPDATE stock SET on_hand = 1000000000")


async def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """Rounds without and with the sockets, by turns."""
    raise_file_limit(arguments.sockets)
    rates: dict[str, list[float]] = {"without": [], "with": []}
    latencies: dict[str, list[float]] = {"without": [], "with": []}
    told: dict[str, list[float]] = {"quiet": [], "busy": []}
    troubles = {"refused": 0.0, "late": 0.0}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: S103 - PostgreSQL may run as another user
        options = {} if arguments.durable else {"fsync": "off"}
        bin_dir = Path(arguments.bin_dir) if arguments.bin_dir else None
        async with Postgres(Path(folder) / "data", bin_dir=bin_dir, options=options) as postgres:
            await migrate.upgrade_in_thread(postgres.url)
            owner = await asyncpg.connect(postgres.url)
            await fill(owner)
            log, script = Path(folder) / "service.log", Path(folder) / "reserve.lua"
            async with service(postgres.url, arguments.processes, log) as address:
                await reserve(*address, 1, 2, script)  # warm
                for turn in range(arguments.rounds):
                    run = 2 + turn * 2
                    alone = await reserve(*address, run, arguments.seconds, script)
                    async with watching(*address, arguments.sockets, owner) as crowd:
                        await crowd.told()
                        told["quiet"] += [(await crowd.told())[0] for _ in range(PROBES)]
                        load = asyncio.create_task(
                            reserve(*address, run + 1, arguments.seconds, script)
                        )
                        while not load.done():
                            told["busy"].append((await crowd.told())[0])
                        crowded = await load
                    for name, seen in (("without", alone), ("with", crowded)):
                        rates[name].append(seen["rate"])
                        latencies[name].append(seen["p99_ms"])
                        for trouble in troubles:
                            troubles[trouble] += seen[trouble]
            await owner.close()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "sockets": arguments.sockets,
        "processes": arguments.processes,
        "told_ms": {
            name: {
                "median": round(statistics.median(values) * 1000, 1),
                "worst": round(max(values) * 1000, 1),
                "changes": len(values),
            }
            for name, values in told.items()
        },
        "rate": rates,
        "p99_ms": latencies,
        "ratio": round(medians["with"] / medians["without"], 3),
        **troubles,
    }


def main() -> None:
    """Measure, or be the crowd."""
    if sys.argv[1:2] == ["watch"]:
        host, port, path, count = sys.argv[2:]
        crowd = Crowd(host, int(port), path, int(count))
        print("ready", flush=True)
        crowd.run()
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sockets", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8, help="of load, each")
    parser.add_argument("--processes", type=int, default=1, help="API processes")
    parser.add_argument("--bin-dir", help="PostgreSQL's programs; else as `make run` finds them")
    parser.add_argument("--durable", action="store_true", help="with fsync, as in production")
    print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=2))


if __name__ == "__main__":
    main()
