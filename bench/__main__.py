"""Benchmarks: python -m bench all | holdfast | echo | orm | pgbench | growth | idle | compare …"""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from bench import growth, mixed, report
from bench.about import about
from bench.cluster import Cluster, fresh_cluster
from bench.load import HERE, BenchError, Figures, Work, find_program
from bench.report import PGBENCH_CLIENTS, Measurement
from bench.systems import BATCH, SYSTEMS, UNIFORM, WORKS, Echo, Holdfast, Pgbench, System
from service.database.embedded.files import EmbeddedError

RESULTS = HERE / "results"

CPU_OF = (Holdfast, Echo)
"""Whose time on a processor `cpu` tells."""

Step = tuple[Measurement, Callable[[], Awaitable[Figures]]]


def main() -> int:
    """Run one command; 0 when all was measured (bars met or not), 1 when something was wrong."""
    arguments = parser().parse_args()
    try:
        if arguments.command == "compare":
            before, after = (report.read(path) for path in (arguments.before, arguments.after))
            print(report.compare(before, after))
            return 0
        uvloop.run(measure(arguments))
    except (BenchError, EmbeddedError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    systems = {system.name: f"{system.name} alone" for system in SYSTEMS}
    kinds = {
        "all": "every system at every work in turns, growth, idle and memory",
        "peers": "every system at every work in turns",
        **systems,
        "growth": "Holdfast with many reservations stored already",
        "idle": "one client of an idle service",
        "memory": "what an API process needs under load",
        "cpu": "time on a processor that a reservation costs, of Holdfast and bare aiohttp",
        "mixed": "clients that do everything at once to the same five products",
    }
    for name, words in kinds.items():
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--seconds", type=float, default=10, help="of a round (10)")
        command.add_argument("--rounds", type=int, default=3, help="of which the median counts (3)")
        connections = [64] if name in ("cpu", "mixed") else [64, 256]
        command.add_argument("--connections", type=_numbers, default=connections, help="64,256")
        command.add_argument("--batch-connections", type=int, default=8, help="for batches (8)")
        command.add_argument("--works", help="only these, as in uniform,hot")
        command.add_argument("--name", help="of the file in bench/results (the command's)")
        command.add_argument(
            "--rows", type=_numbers, default=[1_000_000, 10_000_000], help="stored before, growth"
        )
    differ = commands.add_parser("compare", help="two results' files, figure by figure")
    differ.add_argument("before", type=Path, metavar="A.json")
    differ.add_argument("after", type=Path, metavar="B.json")
    return top


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


async def measure(arguments: argparse.Namespace) -> None:
    """Measure what the command names, in turns, and tell."""
    find_program("wrk", "wrk")
    this = asyncio.current_task()
    assert this
    # Killed, we would leave behind what we have started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    name = arguments.name or arguments.command
    async with fresh_cluster() as cluster:
        facts = await about(cluster, seconds=arguments.seconds, rounds=arguments.rounds)
        if arguments.command == "mixed":
            figures = await mixed.measure(cluster, arguments.connections[0], arguments.seconds)
            document = {"name": name, **facts, **figures}
        else:
            steps = await plan(cluster, arguments)
            if not steps:
                raise BenchError("nothing of that kind is measured here")
            await take_turns(steps, arguments.rounds)
            document = report.as_document(name, facts, [measurement for measurement, _ in steps])
    report.write(RESULTS / f"{name}.json", document)
    tables = {"cpu": report.cpu_table, "mixed": mixed.table}
    print(tables.get(arguments.command, report.table)(document))


async def plan(cluster: Cluster, arguments: argparse.Namespace) -> list[Step]:
    """Prepare what the command measures; the steps of one round."""
    command, seconds = arguments.command, arguments.seconds
    prepared: dict[str, System] = {}

    async def ready(kind: type[System]) -> System:
        if kind.name not in prepared:
            say(f"preparing {kind.name}")
            prepared[kind.name] = kind()
            await prepared[kind.name].prepare(cluster)
        return prepared[kind.name]

    def step(system: System, work: Work, connections: int, name: str = "") -> Step:
        measurement = Measurement(name or work.name, system.name, connections)
        return measurement, lambda: system.measure(cluster, work, connections, seconds)

    steps: list[Step] = []
    for work in WORKS:  # all at one work, then the next, so that those compared are neighbours
        if arguments.works and work.name not in arguments.works.split(","):
            continue
        for kind in SYSTEMS:
            wanted = ("all", "peers", "cpu" if kind in CPU_OF else "", kind.name)
            if work in kind.works and command in wanted:
                system = await ready(kind)
                for connections in connections_for(system, work, arguments):
                    steps.append(step(system, work, connections))
    if command == "memory":
        steps.append(step(await ready(Holdfast), UNIFORM, max(arguments.connections)))
    if command in ("all", "idle"):
        for kind in (Holdfast, Pgbench):
            steps.append(step(await ready(kind), UNIFORM, 1, "idle"))
    if command in ("all", "growth"):
        holdfast = await ready(Holdfast)
        steps.append(step(holdfast, UNIFORM, PGBENCH_CLIENTS, "0 stored"))
        for rows in arguments.rows:
            url = await growth.store(cluster, holdfast, rows)
            measurement = Measurement(f"{rows:,} stored", "holdfast", PGBENCH_CLIENTS)
            steps.append((measurement, growth.step(cluster, holdfast, url, seconds)))
    return steps


def connections_for(system: System, work: Work, arguments: argparse.Namespace) -> list[int]:
    """How many clients ask: of pgbench and of batches always as many."""
    wanted: list[int] = arguments.connections
    if work == BATCH:
        wanted = [arguments.batch_connections]
    return [PGBENCH_CLIENTS] if system.name == "pgbench" else wanted


async def take_turns(steps: list[Step], rounds: int) -> None:
    """Round by round, forwards and backwards, so that no system has the machine's best hour."""
    for number in range(rounds):
        for measurement, take in steps if number % 2 == 0 else reversed(steps):
            began = time.monotonic()
            figures = await take()
            measurement.rounds.append(figures)
            say(
                f"round {number + 1} of {rounds}: {measurement.system}, {measurement.work}, "
                f"{measurement.connections} connections: {figures.rate:,.0f}/s, "
                f"p50 {figures.p50_ms:.2f} p99 {figures.p99_ms:.2f} max {figures.max_ms:.1f} ms "
                f"({time.monotonic() - began:.0f} s)"
            )
            await asyncio.sleep(0.5)


def say(words: str) -> None:
    """Progress, for the person who waits."""
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
