"""Load: run wrk and pgbench, and read what they measured."""

import asyncio
import json
import math
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.settings import ROOT

HERE = Path(__file__).resolve().parent
THREADS = 2
HELD_UP = 2.0
"""Seconds by which wrk may be late before its rate means nothing."""
SAMPLE = 0.05
"""The share of pgbench's transactions whose time is noted, so that noting costs nothing."""


class BenchError(Exception):
    """A run that gives no figure; the message says why."""


@dataclass(frozen=True)
class Figures:
    """What one round measured."""

    rate: float
    """Reservations a second."""
    p50_ms: float
    p99_ms: float
    max_ms: float
    answered: int
    """Requests that were answered as expected."""
    rss_mb: float | None = None
    """The most resident memory that one API process had, in MiB."""
    python_us: float | None = None
    """Time on a processor, per reservation, of the processes that answer requests."""
    postgres_us: float | None = None
    load_us: float | None = None
    """That of wrk or pgbench."""
    per_commit: float | None = None
    """Reservations in a transaction, on average."""
    accepted: int = 0
    """Requests that were answered with 200."""


@dataclass(frozen=True)
class Work:
    """What is asked: of which products, how, and what a good answer is."""

    name: str
    products: tuple[int, int]
    """The first and the last product asked for, uniformly."""
    statuses: tuple[int, ...] = (200,)
    size: int = 1
    """Reservations in a request."""
    script: str = "reserve.lua"
    path: str = "/api/v1/reserve"
    writes: str = "count(*) FROM reservations"
    """What is one more after each success."""


async def run(*command: str | Path, **environment: str) -> str:
    """Run a program to its end and return what it printed; BenchError if it failed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=surroundings() | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        last = (said + complained).decode(errors="replace").strip()[-2000:]
        raise BenchError(f"{command[0]} ended with {process.returncode}:\n{last}")
    return said.decode(errors="replace")


def surroundings() -> dict[str, str]:
    """Our environment, without settings that would lead Holdfast elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}


def find_program(name: str, package: str) -> str:
    """Where a program is; BenchError naming the package when it is missing."""
    path = shutil.which(name)
    if path is None:
        raise BenchError(f"{name} is missing; install it: apt-get install {package}")
    return path


async def run_wrk(
    url: str, work: Work, *, run_number: int, connections: int, seconds: float,
    good_text: str = "", buyers: str = "",
) -> Figures:  # fmt: skip
    """Ask a server for so many seconds over so many connections that stay open.

    `buyers` are those of works that need credentials: `token account` pairs, with commas between.
    """
    said = await run(
        find_program("wrk", "wrk"),
        *(f"-t{min(THREADS, connections)}", f"-c{connections}", f"-d{math.ceil(seconds)}s"),
        *("--timeout", "10s", "-s", HERE / "lua" / work.script, url + work.path, "--"),
        *map(str, (run_number, *work.products, work.statuses, good_text, work.size, buyers)),
        LUA_PATH=f"{HERE}/lua/?.lua",
    )
    return parse_wrk(said, work.size, longest=math.ceil(seconds) + HELD_UP)


def parse_wrk(said: str, size: int, longest: float = math.inf) -> Figures:
    """The figures that bench/lua/common.lua prints.

    BenchError if any answer was not as expected, or the run took longer than `longest` seconds.
    """
    found = re.search(r"^RESULT (.*)$", said, re.M)
    if not found:
        raise BenchError(f"wrk printed no result:\n{said[-2000:]}")
    result = json.loads(found[1])
    if result["unexpected"] or result["broken"] or result["timeouts"]:
        example = re.search(r"^UNEXPECTED (.*)$", said, re.M)
        raise BenchError(
            f"{result['unexpected']} of {result['answered']} answers were not as expected, "
            f"{result['broken']} connections broke, {result['timeouts']} requests timed out"
            + (f"; such as: {example[1]}" if example else "")
        )
    if result["seconds"] > longest:
        raise BenchError(f"wrk was held up: it ran for {result['seconds']:.1f} seconds")
    if not result["answered"]:
        raise BenchError("nothing was answered")
    return Figures(
        rate=result["answered"] * size / result["seconds"],
        p50_ms=result["p50_ms"],
        p99_ms=result["p99_ms"],
        max_ms=result["max_ms"],
        answered=result["answered"],
        accepted=result["accepted"],
    )


async def run_pgbench(
    pgbench: Path | str, url: str, script: Path, logs: Path, variables: dict[str, int], *,
    clients: int, seconds: float, sample: float = SAMPLE,
) -> Figures:  # fmt: skip
    """Run a script of one transaction for so many seconds, prepared, over the socket."""
    for log in logs.glob("pgbench_log.*"):
        log.unlink()
    said = await run(
        *(pgbench, "--no-vacuum", "-M", "prepared", "-c", str(clients)),
        *("-j", str(min(THREADS, clients)), "-T", str(math.ceil(seconds)), "-f", script),
        *("--log", f"--sampling-rate={sample}", f"--log-prefix={logs}/pgbench_log"),
        *(word for name, value in variables.items() for word in ("-D", f"{name}={value}")),
        url,
    )
    times = [time for log in logs.glob("pgbench_log.*") for time in parse_log(log.read_text())]
    return parse_pgbench(said, times)


def parse_log(text: str) -> list[float]:
    """Milliseconds of each transaction in a log of pgbench (the third column, in microseconds)."""
    return [int(line.split()[2]) / 1000 for line in text.splitlines()]


def parse_pgbench(said: str, times: Sequence[float]) -> Figures:
    """The figures of pgbench's summary, with the percentiles of the noted milliseconds."""
    tps = re.search(r"^tps = ([\d.]+) \(without initial connection time\)", said, re.M)
    done = re.search(r"^number of transactions actually processed: (\d+)", said, re.M)
    failed = re.search(r"^number of failed transactions: (\d+)", said, re.M)
    if not tps or not done or not times:
        raise BenchError(f"pgbench printed no result:\n{said[-2000:]}")
    if failed and int(failed[1]):
        raise BenchError(f"{failed[1]} transactions of pgbench failed")
    ordered = sorted(times)
    return Figures(
        rate=float(tps[1]),
        p50_ms=percentile(ordered, 50),
        p99_ms=percentile(ordered, 99),
        max_ms=ordered[-1],
        answered=int(done[1]),
        accepted=int(done[1]),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that so many percent do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
