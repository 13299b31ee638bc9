"""A PostgreSQL server of our own on a data folder, for a service or for one command."""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from service.database.embedded import postmaster
from service.database.embedded.access import Pass, open_database
from service.database.embedded.cluster import make_cluster
from service.database.embedded.files import (
    DATABASE,
    EmbeddedError,
    Urls,
    read_pid_file,
    socket_dir_of,
    try_lock,
    urls_of,
)
from service.database.embedded.installation import Installation

logger = logging.getLogger("holdfast.postgres")


class AlreadyRunning(EmbeddedError):
    """Another process uses the data folder."""


class Postgres:
    """A PostgreSQL server of our own, on a data folder of our own.

    It is started again when it dies, and ends with the thread that called `start` (so call it
    from the main one), even if that is killed. `options` are settings for this run, as in
    `postgres -c`. All but `start` and `stop` is valid once started.
    """

    installation: Installation
    """The programs in use, and what they run with."""

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._bin_dir, self._options = bin_dir, options or {}
        self._lock: int | None = None
        self._postmaster: postmaster.Postmaster | None = None
        self._stopping: asyncio.Task[None] | None = None

    @property
    def urls(self) -> Urls:
        """The database over the socket, for each of those who use it."""
        return urls_of(socket_dir_of(self.data_dir), self.port)

    @property
    def url(self) -> str:
        """The database as its superuser, who makes databases and roles; holds no secret."""
        return self.urls.superuser

    @property
    def psql_url(self) -> str:
        """The owner's over TCP, for clients that may not enter the socket's folder; libpq only."""
        passfile = quote(str(self.data_dir / "pgpass"), safe="")
        return f"postgresql://holdfast_admin@127.0.0.1:{self.port}/{DATABASE}?passfile={passfile}"

    @property
    def version(self) -> int:
        """The major version in use, such as 18."""
        return self.installation.version

    @property
    def bin_dir(self) -> Path:
        """The folder of the programs in use."""
        return self.installation.bin_dir

    @property
    def port(self) -> int:
        """Where the server listens, on loopback."""
        return self._postmaster.port if self._postmaster else 0

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it is down."""
        return self._postmaster.pid if self._postmaster else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server, making the cluster first where there is none; ready on return.

        Raises AlreadyRunning, or EmbeddedError if there are no fitting binaries, rights, space …
        """
        await self._take_lock()
        self._stopping = None
        try:
            self.installation = Installation.choose(self.data_dir, self._bin_dir, self._options)
            known = Pass.read(self.data_dir)
            await make_cluster(self.installation, known.password)
            self._postmaster = postmaster.Postmaster(self.installation)
            await self._postmaster.start(known.port)
            await open_database(self.urls, known, self.port)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise EmbeddedError(f"PostgreSQL in {self.data_dir}: {error}") from error
            raise
        self._postmaster.keep_running()

    async def stop(self) -> None:
        """Stop the server (open transactions are rolled back) and let go of the data folder.

        Takes up to 30 seconds. May be called again, and goes on if the caller is cancelled.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._shut_down())
        await asyncio.shield(self._stopping)

    async def _take_lock(self) -> None:
        try:
            self.data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
            lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EmbeddedError(f"The data folder {self.data_dir} is no use: {error}") from error
        try:
            for _ in range(10):
                if try_lock(lock, fcntl.LOCK_EX):
                    break
                await asyncio.sleep(0.03)  # running_urls holds it for a moment, too
            else:
                holder = os.pread(lock, 20, 0).decode().strip() or "unknown"
                raise AlreadyRunning(f"{self.data_dir} is in use by process {holder}.")
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    async def _shut_down(self) -> None:
        try:
            if self._postmaster:
                await self._postmaster.stop()
        finally:
            if self._lock is not None:
                socket_dir = socket_dir_of(self.data_dir)
                if socket_dir.parent != self.data_dir:
                    with suppress(OSError):
                        socket_dir.rmdir()
                os.close(self._lock)
                self._lock = None


@asynccontextmanager
async def borrowed(data_dir: Path) -> AsyncIterator[Urls]:
    """URLs of the server that runs on the folder, else of one started for the time being.

    For one-off commands; a server of another process goes away with that process.
    """
    server = Postgres(data_dir)
    deadline = time.monotonic() + postmaster.PATIENCE
    while (urls := running_urls(data_dir)) is None:
        try:
            await server.start()
            break
        except AlreadyRunning:  # it is only just starting, or stopping
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    try:
        yield urls or server.urls
    finally:
        await server.stop()


def running_urls(data_dir: Path) -> Urls | None:
    """URLs of the server that a process of ours runs on the folder, None if there is none.

    Raises EmbeddedError if the folder is another user's.
    """
    data_dir = data_dir.resolve()
    try:
        lock = os.open(data_dir / "lock", os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EmbeddedError(f"The data folder {data_dir} is no use: {error}") from error
    try:
        if try_lock(lock, fcntl.LOCK_SH):
            return None
    finally:
        os.close(lock)
    state = read_pid_file(data_dir / "postgres")
    if state is None or not state.is_ready:
        return None
    with suppress(PermissionError):  # it is there, as another account's
        try:
            os.kill(state.pid, 0)
        except ProcessLookupError:
            return None
    return urls_of(socket_dir_of(data_dir), state.port)
