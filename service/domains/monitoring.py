"""Monitoring: what Prometheus reads of the service; health is the application's own."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy import text

from service.database.pool import Database
from service.results import Refusal
from service.web.clients import CLIENTS
from service.web.context import DATABASE
from service.web.metrics import CONTENT_TYPE, METRICS, Metrics, Values
from service.web.routing import EVERYONE, Routes

FIND_BACKLOGS = text("SELECT * FROM find_backlogs()")
ASK_SECONDS = 1.0
"""For what the database has to tell; without it the rest is told."""
STATM = Path("/proc/self/statm")

routes = Routes("")


class Backlog(msgspec.Struct, frozen=True):
    """What find_backlogs tells of a channel."""

    channel: str
    waiting: int
    dead: int
    lag: Annotated[float, msgspec.Meta(ge=0)]


BACKLOGS = msgspec.json.Decoder(list[Backlog])


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
    app.on_startup.append(metrics.start)
    app.on_cleanup.append(metrics.stop)


@routes.get("/metrics", EVERYONE)
async def read_metrics(request: web.Request) -> web.Response:
    """All metrics of all API processes, for HOLDFAST_MONITORS."""
    request.app[CLIENTS].check_monitor(request)
    content = await request.app[METRICS].text()
    return web.Response(body=content, headers={"Content-Type": CONTENT_TYPE})


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
