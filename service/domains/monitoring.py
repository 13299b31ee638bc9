"""Monitoring: what Prometheus reads of the service, and what the dashboard shows of it.

Health is the application's own.
"""

import asyncio
import contextvars
import os
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import text

from service.database.pool import Database
from service.results import Refusal, check
from service.web import responses
from service.web.clients import CLIENTS
from service.web.context import CALLER, DATABASE, SETTINGS, STORE_ID, read
from service.web.metrics import CONTENT_TYPE, METRICS, SECONDS, Metrics, Values
from service.web.routing import EVERYONE, STAFF, STORE_API, Routes

FIND_BACKLOGS = text("SELECT * FROM find_backlogs()")
READ_BACKLOGS = text("SELECT * FROM read_backlogs(:store_id)")
COUNT_VIOLATIONS = text("SELECT * FROM count_violations(:store_id)")
ASK_SECONDS = 1.0
"""For what the database has to tell; without it the rest is told."""
STATM = Path("/proc/self/statm")
LOOK_SECONDS = 5.0
"""Between the points of a chart."""
POINTS = 120
"""Ten minutes."""
CHECK_SECONDS = 10.0
"""Between two checks of a store's invariants; and at least CHECK_SHARE times what one takes."""
CHECK_SHARE = 20.0
FIRST_CHECK_SECONDS = 1.0
"""How long an answer waits for the first check of a store."""
STORES_CHECKED = 1000
"""Whose last check is remembered."""
RESERVING = {("POST", "/reserve"), ("POST", "/reserve/batch"), ("POST", "/reservations")}

routes = Routes("")


class Backlog(msgspec.Struct, frozen=True):
    """What find_backlogs tells of a channel."""

    channel: str
    waiting: int
    dead: int
    lag: Annotated[float, msgspec.Meta(ge=0)]


class Violated(msgspec.Struct, frozen=True):
    """An invariant that is broken: how often, and on what for example."""

    invariant: str
    count: int
    subject: str


class Check(msgspec.Struct, frozen=True):
    """The last look at all invariants of a store; without `checked_at` there was none yet."""

    violations: int | None = None
    """0 is healthy; null: not known."""
    broken: list[Violated] = []
    checked_at: datetime | None = None
    seconds: float | None = None
    """How long it took."""
    is_too_long: bool = False
    """It took longer than a call may: `python -m service check` takes its time."""


class Series(msgspec.Struct, frozen=True):
    """Points of the last minutes, the oldest first, all of the same length."""

    seconds: float
    """Between two points."""
    reservations: list[float]
    """Asked for, a second."""
    refused: list[float]
    """Of them for want of stock, a second."""
    requests: list[float]
    """Answered, a second."""
    p50: list[float]
    """In milliseconds: half of the answers were quicker."""
    p99: list[float]


class Figures(msgspec.Struct, frozen=True):
    """How the service is, and a store's outbox and invariants."""

    at: datetime
    check: Check
    outbox: list[Backlog]
    sockets: int | None
    """Of the feed; null, as `series`, for staff of a store that is not the default one."""
    series: Series | None


BACKLOGS = msgspec.json.Decoder(list[Backlog])
VIOLATIONS = msgspec.json.Decoder(list[Violated])


def set_up(app: web.Application) -> None:
    """Give the application what it measures of itself beside requests."""
    metrics, database = app[METRICS], app[DATABASE]
    connections = "Connections to PostgreSQL, of calls and of shares set apart: used, and at most."
    metrics.gauge(
        "holdfast_database_connections",
        connections,
        ("pool", "state"),
        lambda: _connections(database),
    )
    metrics.ask(lambda: _read_outbox(database))
    _add_process(metrics)
    history = app[HISTORY] = History(metrics)
    app[CHECKS] = Checks(database)
    app.on_startup.append(history.start)
    app.on_cleanup.append(_stop)
    app.on_startup.append(metrics.start)
    app.on_cleanup.append(metrics.stop)


@routes.get("/metrics", EVERYONE, media="text/plain", also=("forbidden",))
async def read_metrics(request: web.Request) -> web.Response:
    """All metrics of all API processes, for HOLDFAST_MONITORS."""
    request.app[CLIENTS].check_monitor(request)
    content = await request.app[METRICS].text()
    return web.Response(body=content, headers={"Content-Type": CONTENT_TYPE})


@routes.get(STORE_API + "/figures", STAFF, answer=Figures, codes=("ok", "unknown_store"))
async def read_figures(request: web.Request) -> web.Response:
    """How the service is: invariants, the last ten minutes, the outbox, the feed."""
    app, caller, store_id = request.app, request[CALLER], request[STORE_ID]
    row = await read(request, READ_BACKLOGS, store_id=store_id)
    check(row, store_id=store_id)
    is_of_default_store = caller.store_id == app[SETTINGS].store
    figures = Figures(
        datetime.now(UTC),
        await app[CHECKS].last(store_id),
        BACKLOGS.decode(row.document),
        int(app[METRICS].told("holdfast_feed_sockets")) if is_of_default_store else None,
        app[HISTORY].series() if is_of_default_store else None,
    )
    return responses.json_response(figures)


class _Point(NamedTuple):
    """What had been counted at a moment, since the processes began."""

    at: float
    reservations: float
    refused: float
    buckets: Sequence[float]
    """Answers by how long they took, see SECONDS."""


class History:
    """What was counted in the last minutes, looked at every LOOK_SECONDS."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._points = deque[_Point](maxlen=POINTS + 1)
        self._timer: asyncio.TimerHandle | None = None

    async def start(self, app: web.Application) -> None:
        """Begin to look."""
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        self._points.append(self._point())
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _point(self) -> _Point:
        buckets = [0.0] * (len(SECONDS) + 1)
        refused = 0.0
        for (method, path, code), (_, *counts) in self._metrics.counted(
            "holdfast_request_seconds"
        ).items():
            if not path.startswith("/auth"):  # slow on purpose
                buckets = [have + more for have, more in zip(buckets, counts, strict=True)]
            if (method, path) in RESERVING and code == "insufficient_stock":
                refused += sum(counts)
        sizes = self._metrics.counted("holdfast_batch_size").values()
        return _Point(time.monotonic(), sum(row[0] for row in sizes), refused, buckets)

    def series(self) -> Series:
        """What each chart shows, up to now."""
        series = Series(LOOK_SECONDS, [], [], [], [], [])
        for before, after in pairwise([*self._points]):
            seconds = max(after.at - before.at, 0.001)
            # A process that left without a word takes what it had counted with it.
            counts = [max(0.0, b - a) for a, b in zip(before.buckets, after.buckets, strict=True)]
            series.reservations.append(max(0.0, after.reservations - before.reservations) / seconds)
            series.refused.append(max(0.0, after.refused - before.refused) / seconds)
            series.requests.append(sum(counts) / seconds)
            series.p50.append(_quantile(counts, 0.5))
            series.p99.append(_quantile(counts, 0.99))
        return series


HISTORY = web.AppKey("HISTORY", History)


def _quantile(counts: Sequence[float], part: float) -> float:
    """Milliseconds within which this part of the answers came, by where in its bucket it lies."""
    left = sum(counts) * part
    lower = 0.0
    for upper, count in zip((*SECONDS, SECONDS[-1]), counts, strict=True):
        if count and left <= count:
            return 1000 * (lower + (upper - lower) * left / count)
        left -= count
        lower = upper
    return 0.0


class Checks:
    """The invariants of stores: looked at when somebody asks, one store at a time, never often."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: dict[str, Check] = {}
        self._due: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._one_at_a_time = asyncio.Semaphore(1)

    async def last(self, store_id: str) -> Check:
        """What the last check found; a new one is begun where that is old."""
        if store_id not in self._running and time.monotonic() >= self._due.get(store_id, 0.0):
            task = asyncio.create_task(self._check(store_id), context=contextvars.Context())
            self._running[store_id] = task
            task.add_done_callback(lambda _: self._running.pop(store_id))
        if store_id not in self._last and (running := self._running.get(store_id)):
            await asyncio.wait([running], timeout=FIRST_CHECK_SECONDS)
        return self._last.get(store_id, Check())

    async def close(self) -> None:
        """Wait for those under way."""
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _check(self, store_id: str) -> None:
        async with self._one_at_a_time:
            began = time.monotonic()
            try:
                row = await self._database.read(COUNT_VIOLATIONS, store_id=store_id)
                check(row, store_id=store_id)
            except Refusal as refusal:
                before = self._last.get(store_id, Check())
                is_too_long = refusal.code == "database_timeout"
                found = msgspec.structs.replace(before, is_too_long=is_too_long)
            else:
                broken = VIOLATIONS.decode(row.document)
                violations = sum(each.count for each in broken)
                seconds = time.monotonic() - began
                found = Check(violations, broken, datetime.now(UTC), seconds)
            if len(self._last) >= STORES_CHECKED:
                del self._last[next(iter(self._last))]
            self._last[store_id] = found
            took = time.monotonic() - began
            self._due[store_id] = time.monotonic() + max(CHECK_SECONDS, CHECK_SHARE * took)


CHECKS = web.AppKey("CHECKS", Checks)


async def _stop(app: web.Application) -> None:
    app[HISTORY].stop()
    await app[CHECKS].close()


def _connections(database: Database) -> Values:
    shares = database.shares
    return {
        ("calls", "used"): database.taken,
        ("calls", "most"): database.size,
        ("shares", "used"): sum(share.taken for share in shares),
        ("shares", "most"): sum(share.size for share in shares),
    }


async def _read_outbox(database: Database) -> Iterable[Metric]:
    try:
        async with asyncio.timeout(ASK_SECONDS):
            row = await database.read(FIND_BACKLOGS)
    except (Refusal, TimeoutError):
        return []
    labels = ["channel"]
    waiting = GaugeMetricFamily(
        "holdfast_outbox_waiting", "Messages not yet delivered.", labels=labels
    )
    dead = GaugeMetricFamily("holdfast_outbox_dead", "Messages that were given up.", labels=labels)
    lag = GaugeMetricFamily(
        "holdfast_outbox_lag_seconds", "How long the longest due message waits.", labels=labels
    )
    for each in BACKLOGS.decode(row.document):
        waiting.add_metric([each.channel], each.waiting)
        dead.add_metric([each.channel], each.dead)
        lag.add_metric([each.channel], each.lag)
    return [waiting, dead, lag]


def _add_process(metrics: Metrics) -> None:
    metrics.gauge("holdfast_processes", "API processes that share the port.", (), lambda: {(): 1})
    if not STATM.exists():
        return
    page = os.sysconf("SC_PAGE_SIZE")
    metrics.gauge(
        "holdfast_resident_bytes",
        "Memory of the API processes.",
        (),
        lambda: {(): int(STATM.read_text().split()[1]) * page},
    )
    metrics.gauge(
        "holdfast_open_files",
        "Files and sockets that the API processes have open.",
        (),
        lambda: {(): len(os.listdir("/proc/self/fd"))},
    )
