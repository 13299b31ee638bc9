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
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
from aiohttp import web
from alembic.util import CommandError
from msgspec.structs import replace
from sqlalchemy.exc import DBAPIError

from service.app import create_app
from service.commands import import_stock
from service.commands.user import FIRST_ADMIN, create_first_admin
from service.database import migrate
from service.database.connections import connected
from service.database.embedded.server import Postgres
from service.database.pool import Database
from service.database.roles import OWNER
from service.settings import Settings
from service.web.boundary import DRAINING
from service.web.connections import MAX_BACKLOG
from service.web.protocol import FINISH_SECONDS, Runner

logger = logging.getLogger("holdfast.server")

DEMO = Path(import_stock.__file__).with_name("demo.csv")
LISTEN_FD = "HOLDFAST_LISTEN_FD"
METRICS_FOLDER = "HOLDFAST_METRICS_FOLDER"
"""Where API processes that share a port write what they have counted."""
MIGRATION = "migration"
"""The name of the thread that migrates."""
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


async def serve(settings: Settings, *, demo: bool = False) -> None:
    """Run the whole service until SIGTERM or SIGINT, which also a slow start gives way to."""
    stop = asyncio.create_task(stop_on_signals().wait())
    serving = asyncio.create_task(_serve(settings, demo))
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


async def _serve(settings: Settings, demo: bool) -> None:
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
        prepared = asyncio.create_task(prepare(settings, owner_dsn, demo))
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
        announce(settings)
        await asyncio.Event().wait()


async def serve_child(settings: Settings) -> None:
    """One API process of several, on the socket its parent opened; ends with its parent."""
    stop = stop_on_signals()
    listener = socket.socket(fileno=int(os.environ[LISTEN_FD]))
    orphaned = await stop_with_parent(stop)
    async with running_app(settings, settings.database_url, listener):
        logger.info("API process %d serves", os.getpid())
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
            env=os.environ | settings, stdin=asyncio.subprocess.PIPE,
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


async def prepare(settings: Settings, owner_dsn: str, demo: bool) -> None:
    """Migrate, make the default store, say how to load stock; wait for PostgreSQL if need be."""
    while True:
        try:
            await _upgrade(owner_dsn)
            await _fill_store(settings, owner_dsn, demo)
            if settings.environment == "development":
                await _make_admin(settings, owner_dsn)
            return
        except asyncpg.InsufficientPrivilegeError as error:
            logger.warning("Not migrated: this login is not the owner's (%s)", error)
            return
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == "42501":
                logger.warning("Not migrated: this login is not the owner's (%s)", error.orig)
                return
            logger.warning("PostgreSQL cannot be prepared yet: %s", error.orig)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            logger.warning("Waiting for PostgreSQL: %s", error)
        except CommandError as error:  # an older release beside a newer one, or after it
            logger.warning("Not migrated, serving the schema as it is: %s", error)
            return
        except Exception:
            logger.exception("The database could not be prepared; serving it as it is")
            return
        await asyncio.sleep(1)


async def _upgrade(dsn: str) -> None:
    """Migrate in a thread that `serve` need not wait for at its end, as it would for to_thread's.

    So a migration that waits for another one's lock does not keep SIGTERM from being obeyed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error = None
        try:
            migrate.upgrade(dsn)
        except Exception as caught:
            error = caught
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name=MIGRATION, daemon=True).start()
    await done


async def _fill_store(settings: Settings, owner_dsn: str, demo: bool) -> None:
    async with connected(owner_dsn, OWNER) as connection:
        for store_id in (settings.store, *settings.stores.split()):
            await connection.fetchval("SELECT create_store($1)", store_id)
        is_empty = await connection.fetchval(
            "SELECT NOT EXISTS (SELECT FROM products WHERE store_id = $1)", settings.store
        )
    if is_empty and demo:
        await import_stock.import_file(owner_dsn, settings.store, DEMO, add=False)
    elif is_empty:
        logger.info(
            "Store %s has no products yet. Load some: python -m service import-stock FILE.csv "
            "(header: product_id,name,quantity,price)",
            settings.store,
        )


async def _make_admin(settings: Settings, owner_dsn: str) -> None:
    """Let a developer sign in: a store without an admin gets one, whose password is told once."""
    password = secrets.token_urlsafe(12)
    row = await create_first_admin(owner_dsn, settings.store, password)
    if row["result_code"] == "created":
        logger.warning(
            "Development: sign in as %s with the password %s, which is not shown again",
            FIRST_ADMIN,
            password,
        )


def announce(settings: Settings) -> None:
    """Say where we are and how open."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    logger.info("Serving on http://%s:%s", host, settings.port)
    if settings.environment == "development":
        logger.info("Development: callbacks are open to everyone who reaches this address")
        if settings.host not in ("127.0.0.1", "::1", "localhost"):
            logger.warning("%s is not loopback: others may reach it", settings.host)


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
