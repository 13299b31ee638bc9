"""Metrics, as Prometheus reads them: how often, how long, how full.

What is counted is kept in plain dictionaries: an observation costs half a microsecond, of the
client library's own kind two, and six where several processes share files.

Several API processes share one port, and whichever is asked answers for all: each writes what it
has counted to a file of a folder that their parent made, every second and whenever it is asked. So
a counter never falls, and a process that died is still counted.
"""

import asyncio
import os
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
WRITE_SECONDS = 1.0
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Values = Mapping[Labels, float]


class _Described(NamedTuple):
    """What Prometheus is told of a metric beside its values."""

    help: str
    labels: Labels


class Histogram:
    """Counts observations by labels, whose values nobody outside can invent, and by size."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.rows: dict[Labels, list[float]] = {}
        """By labels: the sum, then how many were at most each bound, then how many more."""

    def observe(self, labels: Labels, value: float) -> None:
        """Count one observation."""
        row = self.rows.get(labels)
        if row is None:
            row = self.rows[labels] = [0.0] * (len(self._bounds) + 2)
        row[0] += value
        row[1 + bisect_left(self._bounds, value)] += 1

    def family(self, name: str, described: _Described, rows: Mapping[Labels, Any]) -> Metric:
        """What Prometheus is told of rows such as ours."""
        family = HistogramMetricFamily(name, described.help, labels=described.labels)
        bounds = [*map(str, map(float, self._bounds)), "+Inf"]
        for labels, (total, *counts) in sorted(rows.items()):
            sums = zip(bounds, accumulate(counts), strict=True)
            family.add_metric(labels, [(bound, count) for bound, count in sums], total)
        return family


class _Snapshot(msgspec.Struct, frozen=True):
    """What one process has counted, and how it is now."""

    process_id: int
    histograms: dict[str, list[tuple[Labels, list[float]]]]
    gauges: dict[str, list[tuple[Labels, float]]]


class Metrics:
    """All metrics of a process, and of those beside it that write to the same folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._described: dict[str, _Described] = {}
        self._histograms: dict[str, Histogram] = {}
        self._gauges: dict[str, Callable[[], Values]] = {}
        self._asked: list[Callable[[], Awaitable[Iterable[Metric]]]] = []
        self._writing: asyncio.TimerHandle | None = None

    def histogram(self, name: str, help: str, labels: Labels, bounds: Sequence[float]) -> Histogram:
        """A new metric that counts observations."""
        self._described[name] = _Described(help, labels)
        self._histograms[name] = Histogram(bounds)
        return self._histograms[name]

    def gauge(self, name: str, help: str, labels: Labels, read: Callable[[], Values]) -> None:
        """A new metric that `read` tells; those of several processes are added up."""
        self._described[name] = _Described(help, labels)
        self._gauges[name] = read

    def counted(self, name: str) -> dict[Labels, list[float]]:
        """A histogram's rows by labels, of all processes together: sum, then the bounds' counts."""
        return self._merged(name, self._snapshots())

    def told(self, name: str) -> float:
        """The sum of a gauge over all processes."""
        living = (each for each in self._snapshots() if _is_alive(each.process_id))
        return sum(value for each in living for _, value in each.gauges.get(name, ()))

    def ask(self, read: Callable[[], Awaitable[Iterable[Metric]]]) -> None:
        """Metrics of no process, such as what the database holds."""
        self._asked.append(read)

    async def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        families = [family for read in self._asked for family in await read()]
        return generate_latest(_Collected([*self._families(self._snapshots()), *families]))

    async def start(self, app: web.Application) -> None:
        """Begin to write for the other processes, if there are any."""
        if self._folder:
            self._write_again()

    async def stop(self, app: web.Application) -> None:
        """Write a last time."""
        if self._writing:
            self._writing.cancel()
            self._write(self._snapshot())

    def _write_again(self) -> None:
        self._write(self._snapshot())
        self._writing = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._write_again)

    def _snapshot(self) -> _Snapshot:
        histograms = {name: [*each.rows.items()] for name, each in self._histograms.items()}
        gauges = {name: [*read().items()] for name, read in self._gauges.items()}
        return _Snapshot(os.getpid(), histograms, gauges)

    def _snapshots(self) -> list[_Snapshot]:
        own = self._snapshot()
        if not self._folder:
            return [own]
        self._write(own)
        files = self._folder.glob("*.json")
        read = (msgspec.json.decode(file.read_bytes(), type=_Snapshot) for file in files)
        return [own, *(each for each in read if each.process_id != own.process_id)]

    def _write(self, snapshot: _Snapshot) -> None:
        assert self._folder
        file = self._folder / f"{snapshot.process_id}.json"
        draft = file.with_suffix(".draft")
        draft.write_bytes(msgspec.json.encode(snapshot))
        draft.replace(file)

    def _merged(self, name: str, snapshots: Sequence[_Snapshot]) -> dict[Labels, list[float]]:
        rows: dict[Labels, list[float]] = {}
        for snapshot in snapshots:
            for labels, row in snapshot.histograms.get(name, ()):
                known = rows.setdefault(labels, [0.0] * len(row))
                for index, value in enumerate(row):
                    known[index] += value
        return rows

    def _families(self, snapshots: Sequence[_Snapshot]) -> Iterable[Metric]:
        living = [each for each in snapshots if _is_alive(each.process_id)]
        for name, histogram in self._histograms.items():
            rows = self._merged(name, snapshots)
            yield histogram.family(name, self._described[name], rows)
        for name in self._gauges:
            described = self._described[name]
            values: dict[Labels, float] = {}
            for snapshot in living:
                for labels, value in snapshot.gauges.get(name, ()):
                    values[labels] = values.get(labels, 0) + value
            family = GaugeMetricFamily(name, described.help, labels=described.labels)
            for labels, value in sorted(values.items()):
                family.add_metric(labels, value)
            yield family


METRICS = web.AppKey("METRICS", Metrics)


class _Collected:
    """What the library's encoder asks for its families."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except OSError:
        return False
    return True
