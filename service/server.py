"""Serve: PostgreSQL if it is ours, migrations, then API processes that share one port.

One process serves by itself. With several, the parent opens one socket per child on the same port
(SO_REUSEPORT: the kernel spreads connections, and a child that dies loses none that were not its
own), starts a child again when it dies, and stops them together.

The worker is one more child: what it imports and does costs no API process memory or time.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web
from msgspec.structs import replace

from service import domains
from service.app import create_app
from service.database.embedded.server import Postgres
from service.database.pool import Database
from service.database.prepare import MIGRATION, Fill, prepare
from service.database.readiness import prove_ready
from service.results import Refusal
from service.settings import FROM_FILE, Settings
from service.web.boundary import DRAINING
from service.web.connections import MAX_BACKLOG
from service.web.protocol import FINISH_SECONDS, Runner
from service.web.routing import Route

logger = logging.getLogger("holdfast.server")

LISTEN_FD = "HOLDFAST_LISTEN_FD"
METRICS_FOLDER = "HOLDFAST_METRICS_FOLDER"
"""Where API processes that share a port write what they have counted."""
SOON_SECONDS = 1.0
"""A start that takes longer says why."""
PAUSE_SECONDS = 0.2
ARRIVAL_SECONDS = 0.2
"""For the request of a connection that was opened just before we stopped listening."""


class ServeError(Exception):
    """The service cannot start. The message says why; the process exits with 2."""


def open_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """`count` listening sockets on one port; ServeError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sockets: list[socket.socket] = []
    try:
        probe = socket.create_server((host, port), family=family)
        port = probe.getsockname()[1]
        if count == 1:
            return [probe]
        probe.close()
        for _ in range(count):
            listener = socket.create_server((host, port), family=family, reuse_port=True)
            listener.listen(MAX_BACKLOG)
            sockets.append(listener)
    except (OSError, OverflowError) as error:
        for listener in sockets:
            listener.close()
        raise ServeError(f"Cannot listen on {host}:{port}: {error}. Try HOLDFAST_PORT=…") from None
    return sockets


@asynccontextmanager
async def running_app(
    settings: Settings, dsn: str, listener: socket.socket
) -> AsyncIterator[web.Application]:
    """Serve the application on a socket; at the end unready first, then finish what is begun."""
    folder = os.environ.get(METRICS_FOLDER)
    database = Database(dsn, listen_dsn=settings.listen_url)
    app = create_app(settings, database, Path(folder) if folder else None)
    runner = Runner(app)
    await runner.setup()
    site = web.SockSite(runner, listener, backlog=runner.backlog)
    try:
        await site.start()
        yield app
    finally:
        app[DRAINING].set()
        await asyncio.sleep(settings.shutdown_delay)
        await _stop_listening(site, runner, listener)
        await asyncio.sleep(ARRIVAL_SECONDS)
        await runner.cleanup()


async def _stop_listening(site: web.SockSite, runner: Runner, listener: socket.socket) -> None:
    """Let nobody in any more, but reset nobody who is connected and not accepted yet."""
    with listener.dup() as queue:
        queue.setblocking(False)
        await site.stop()
        listener.close()
        assert runner.server
        with suppress(BlockingIOError):
            while True:
                connection, _ = queue.accept()
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(runner.server, connection)


async def serve(settings: Settings, fill: Fill) -> None:
    """Run the whole service until SIGTERM or SIGINT, which also a slow start gives way to.

    `fill` is done to the migrated database before the first start is over.
    """
    stop = asyncio.create_task(stop_on_signals().wait())
    serving = asyncio.create_task(_serve(settings, fill))
    await asyncio.wait({stop, serving}, return_when=asyncio.FIRST_COMPLETED)
    if stop.done():
        logger.info("Stopping: unready now, requests under way are finished")
        serving.cancel()
    stop.cancel()
    with suppress(asyncio.CancelledError):
        await serving
    if any(thread.name == MIGRATION for thread in threading.enumerate()):
        # It waits for PostgreSQL, perhaps for ever. What it began is rolled back, as if we were
        # killed. Python's own way out would wait for the thread, or crash over it.
        logging.shutdown()
        os._exit(0)


async def _serve(settings: Settings, fill: Fill) -> None:
    """Serve until cancelled; what was started ends in the opposite order."""
    async with AsyncExitStack() as stack:
        listeners = open_sockets(settings.host, settings.port, settings.processes)
        for listener in listeners:
            stack.callback(listener.close)
        settings = replace(
            settings,
            port=listeners[0].getsockname()[1],
            jwt_secret=settings.jwt_secret or secrets.token_urlsafe(32),
        )
        dsn, owner_dsn = settings.database_url, settings.owner_url
        if not dsn:
            postgres = await stack.enter_async_context(Postgres(settings.data_dir))
            dsn, owner_dsn = postgres.urls.service, postgres.urls.owner
            logger.info("PostgreSQL %s keeps %s", postgres.version, settings.data_dir)
            logger.info("psql '%s'", postgres.psql_url)
        prepared = asyncio.create_task(prepare(settings, owner_dsn, fill))
        stack.push_async_callback(_cancel, prepared)
        if not settings.database_url:
            await prepared
        worker = asyncio.create_task(_keep_worker(settings, dsn, prepared))
        stack.push_async_callback(_cancel, worker)
        if len(listeners) == 1:
            await stack.enter_async_context(running_app(settings, dsn, listeners[0]))
        else:
            folder = stack.enter_context(TemporaryDirectory(prefix="holdfast-metrics-"))
            children = [
                asyncio.create_task(_keep_api(each, dsn, settings, folder)) for each in listeners
            ]
            stack.push_async_callback(_cancel, *children)
            # Before them, or connections would queue up on sockets that nobody accepts from.
            for listener in listeners:
                stack.callback(listener.close)
        stack.callback(worker.cancel)  # it finishes while they do
        await until_ready(settings, dsn, prepared)
        announce(settings)
        await asyncio.Event().wait()


async def serve_child(settings: Settings) -> None:
    """One API process of several, on the socket its parent opened; ends with its parent."""
    stop = stop_on_signals()
    listener = socket.socket(fileno=int(os.environ[LISTEN_FD]))
    orphaned = await stop_with_parent(stop)
    async with running_app(settings, settings.database_url, listener):
        logger.info("API process %d listens", os.getpid())
        await stop.wait()
    orphaned.cancel()


async def _keep_api(
    listener: socket.socket, dsn: str, settings: Settings, metrics_folder: str
) -> None:
    """Keep an API process running on a socket."""
    fd = listener.fileno()
    environment = {
        LISTEN_FD: str(fd),
        METRICS_FOLDER: metrics_folder,
        "HOLDFAST_DATABASE_URL": dsn,
        "HOLDFAST_JWT_SECRET": settings.jwt_secret,
        "HOLDFAST_PORT": str(settings.port),
    }
    await _keep_child("An API process", ["serve"], environment, [fd])


async def _keep_worker(settings: Settings, dsn: str, prepared: asyncio.Task[None]) -> None:
    """Keep the worker running, once the database is prepared, unless it runs elsewhere."""
    if settings.worker == "inside":
        await asyncio.wait({prepared})
        await _keep_child("The worker", ["worker", "--child"], {"HOLDFAST_DATABASE_URL": dsn})


async def _keep_child(
    name: str, arguments: Sequence[str], settings: Mapping[str, str], fds: Sequence[int] = ()
) -> None:
    """Run a command of ours, again whenever it dies, until cancelled."""
    while True:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *arguments),
            env=_environment(settings), stdin=asyncio.subprocess.PIPE,
            pass_fds=fds, start_new_session=True,
        )  # fmt: skip
        try:
            status = await child.wait()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                child.terminate()
            try:
                async with asyncio.timeout(FINISH_SECONDS + 5):
                    await child.wait()
            except TimeoutError:
                child.kill()
            raise
        logger.error("%s ended with status %s; starting another", name, status)
        await asyncio.sleep(0.5)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Ours for a child, with these settings, and no file that would say them again."""
    files = {name + FROM_FILE for name in settings}
    return {name: text for name, text in os.environ.items() if name not in files} | dict(settings)


async def until_ready(settings: Settings, dsn: str, prepared: asyncio.Task[None]) -> None:
    """Wait until reservations can be made; say what is in the way as soon as that takes longer."""
    database = Database(dsn, connections=1)
    began, told = time.monotonic(), ""
    try:
        await asyncio.wait({prepared}, timeout=SOON_SECONDS)
        while True:
            try:
                await prove_ready(database, settings.store)
                if prepared.done():
                    return
                said = "the database is being prepared"
            except Refusal as refusal:
                said = refusal.detail or "the database is unavailable"
            if said != told and time.monotonic() - began > SOON_SECONDS:
                logger.warning("Listening on %s, not serving yet: %s", settings.address, said)
                told = said
            await asyncio.wait({prepared}, timeout=PAUSE_SECONDS)
            if prepared.done():
                await asyncio.sleep(PAUSE_SECONDS)
    finally:
        await database.close()


def announce(settings: Settings) -> None:
    """Say where we are and how open."""
    logger.info("Serving on %s", settings.address)
    if settings.environment == "development":
        logger.info(
            "Development: whoever reaches this address needs no credentials for %s and what is "
            "below them; all else asks for some",
            ", ".join(left_open()),
        )
        if settings.host not in ("127.0.0.1", "::1", "localhost"):
            logger.warning("%s is not loopback: others may reach it", settings.host)
        if settings.log_format == "text":
            print(whereabouts(settings.link_base, sys.stdout.isatty()), flush=True)


def whereabouts(address: str, is_terminal: bool) -> str:
    """Where everything is, for a developer; in colour on a terminal alone."""
    rows = (
        ("Dashboard", f"{address}/", "as admin; the first start printed the password"),
        ("API", f"{address}/docs", "to try it: /docs/swagger"),
        ("psql", ".venv/bin/python -m service psql", "SELECT * FROM stock_levels;"),
        ("Next", "the first request of README.md", "stop: Ctrl-C"),
    )
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if is_terminal else ("", "", "")
    width = max(len(place) for _, place, _ in rows)
    lines = (
        f"  {name:<11}{bold}{place:<{width}}{plain}  {dim}{more}{plain}"
        for name, place, more in rows
    )
    return "\n".join(("", *lines, ""))


def left_open() -> list[str]:
    """The paths below /api/v1 that development asks no credentials for, and their exceptions."""
    routes = [route for domain in domains.find() for route in domain.routes]
    closed: dict[str, list[str]] = {}
    for route in routes:
        if not route.opens:
            closed.setdefault(_top(route), []).append(f"{route.method} {route.path}")
    return [
        f"{top} (but {', '.join(sorted(closed[top]))})" if top in closed else top
        for top in sorted({_top(route) for route in routes if route.opens})
    ]


def _top(route: Route) -> str:
    """The first part of a route's path; of sockets the second, too."""
    parts = route.path.split("/")
    return "/".join(parts[: 3 if parts[1] == "ws" else 2])


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def stop_with_parent(stop: asyncio.Event) -> asyncio.Task[bytes]:
    """Have `stop` set when our parent, who keeps our standard input open, is gone.

    The task that waits for it is to be kept: nobody else does.
    """
    parent = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    orphaned = asyncio.create_task(parent.read())
    orphaned.add_done_callback(lambda _: stop.set())
    return orphaned


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if not task.cancelling():  # a second time would break off its farewell
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
