"""The server: started, watched over, started again, stopped. The folder is told of in files."""

import asyncio
import fcntl
import logging
import math
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

import asyncpg

from service.database.embedded.account import ENVIRONMENT, account_of, make_private, wrapper_for
from service.database.embedded.binaries import fitting_binaries, installed_binaries, version_of
from service.database.embedded.files import (
    DATABASE,
    EmbeddedError,
    initialised_version,
    is_served,
    read_pid_file,
    socket_dir_of,
    sync_folder,
    try_lock,
    url_of,
    write_private,
)

LARGEST_LOG = 16 * 1024 * 1024  # bytes; a longer log is set aside at the next start
PATIENCE = 30.0  # seconds for whoever had the folder before to be done with it
SHUTDOWN = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # seconds each
PAUSES = (0.0, 0.2, 0.5, 1.0, 5.0, 15.0)  # seconds before the n-th restart in a row
PASSES = re.compile(  # what an earlier server leaves for a moment, or a port that was just taken
    "lock file .* already exists|pre-existing shared memory|could not create any TCP/IP sockets"
)
PGPASS = re.compile(r"127\.0\.0\.1:(\d+):\*:postgres:(\w+)\n")
HBA = """\
# The socket's folder is closed to others, so whoever reaches the socket is trusted.
local all all trust
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""
SETTINGS = """
# Holdfast's defaults, written once: change them here, or with ALTER SYSTEM, and restart.
cluster_name = 'holdfast'
max_connections = 200
shared_buffers = 256MB
min_wal_size = 256MB
max_wal_size = 2GB
jit = off
"""

logger = logging.getLogger("holdfast.postgres")


class AlreadyRunning(EmbeddedError):
    """Another process uses the data folder."""


class _Passing(EmbeddedError):
    """The server could not start for a reason that goes away by itself."""


class Postgres:
    """A PostgreSQL server of our own, on a data folder of our own.

    It is started again when it dies, and ends with the thread that called `start` (so call it
    from the main one), even if that is killed. `options` are settings for this run, as in
    `postgres -c`. All but `start` and `stop` is valid once started.
    """

    bin_dir: Path
    """The folder of the programs in use."""
    version: int
    """The major version in use, such as 18."""

    def __init__(
        self,
        data_dir: Path,
        *,
        bin_dir: Path | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._pgdata = self.data_dir / "postgres"
        self._log = self.data_dir / "postgres.log"
        self._socket_dir = socket_dir_of(self.data_dir)
        self._options = dict(options or {})
        self._wanted_bin_dir = bin_dir
        self._lock: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The database over the socket, as its superuser; holds no secret."""
        return url_of(self._socket_dir, self._port)

    @property
    def psql_url(self) -> str:
        """The same over TCP, for clients that may not enter the socket's folder; libpq only."""
        passfile = quote(str(self.data_dir / "pgpass"), safe="")
        return f"postgresql://postgres@127.0.0.1:{self._port}/{DATABASE}?passfile={passfile}"

    @property
    def pid(self) -> int | None:
        """The process id of the server, None when it is down."""
        process = self._process
        return process.pid if process and process.poll() is None else None

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
            self._choose_programs()
            await self._initialise()
            await self._launch_when_free()
            await self._open_database()
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise EmbeddedError(f"PostgreSQL in {self.data_dir}: {error}") from error
            raise
        self._keeper = asyncio.create_task(self._keep_running())

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
                await asyncio.sleep(0.03)  # running_url holds it for a moment, too
            else:
                holder = os.pread(lock, 20, 0).decode().strip() or "unknown"
                raise AlreadyRunning(f"{self.data_dir} is in use by process {holder}.")
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock

    def _choose_programs(self) -> None:
        """Settle binaries, account, folders, port and password; make no cluster yet."""
        wanted = self._wanted_bin_dir
        found = [(version_of(wanted), wanted)] if wanted else installed_binaries()
        self.version, self.bin_dir = fitting_binaries(found, self.data_dir)
        self._account = account_of(self._pgdata)
        self._wrapper = wrapper_for(self._account, self.bin_dir, self.data_dir)
        make_private(self._socket_dir, self._account)
        if self._log.exists() and self._log.stat().st_size > LARGEST_LOG:
            self._log.replace(self._log.with_name("postgres.log.1"))
        pgpass = self.data_dir / "pgpass"
        known = PGPASS.fullmatch(pgpass.read_text() if pgpass.exists() else "")
        self._known_port = int(known[1]) if known else 0
        self._password = known[2] if known else secrets.token_hex(24)
        self._password_is_new = not known

    async def _initialise(self) -> None:
        """Make the cluster beside its place and move it there complete, so none is half made."""
        for leftover in self.data_dir.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if initialised_version(self.data_dir) is not None:
            return
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            raise EmbeddedError(f"{self._pgdata} is not empty, but no PostgreSQL data either.")
        logger.info("making a PostgreSQL %d cluster in %s", self.version, self._pgdata)
        draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.data_dir))
        try:
            password = draft / "password"
            write_private(password, self._password, os.O_EXCL)
            for path in (draft, password):
                os.chown(path, *self._account)
            await self._run(
                *(str(self.bin_dir / "initdb"), "-D", str(draft / "postgres"), "-U", "postgres"),
                *("--encoding=UTF8", "--no-locale", "--data-checksums", f"--pwfile={password}"),
                *("--auth-local=trust", "--auth-host=scram-sha-256"),
                *(["--no-sync"] if self._options.get("fsync") == "off" else []),
            )
            write_private(draft / "postgres" / "pg_hba.conf", HBA, os.O_TRUNC)
            write_private(draft / "postgres" / "postgresql.conf", SETTINGS, os.O_APPEND)
            (draft / "postgres").rename(self._pgdata)
            sync_folder(self.data_dir)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    async def _run(self, *command: str) -> None:
        said_before = self._log_size()
        process = self._spawn(*command)
        try:
            await _ends(process)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise EmbeddedError(f"{command[0]} failed:\n{_last(self._said_since(said_before))}")

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        # A plain Popen: asyncio's transport would SIGKILL the server when the loop is closed.
        # A session of its own: Ctrl-C is for us, who still need the server to finish our requests.
        # The shell ends at once if we died before the death signal was in place.
        guard = ("/bin/sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid()))
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            return subprocess.Popen(
                [*self._wrapper, *guard, *command],
                cwd="/",
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _launch_when_free(self) -> None:
        """Launch; where a killed service's server is still going down, wait for it."""
        deadline = time.monotonic() + PATIENCE
        told = False
        while True:
            if is_served(self._pgdata, self._socket_dir):
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"Another PostgreSQL runs on {self._pgdata}; stop it first."
                    )
            else:
                self._port = _free_port(self._known_port)
                try:
                    return await self._launch()
                except _Passing:
                    if time.monotonic() > deadline:
                        raise
            if not told:
                logger.warning("an earlier PostgreSQL still uses %s; waiting for it", self._pgdata)
                told = True
            await asyncio.sleep(0.05)

    async def _launch(self) -> None:
        """Start the server and wait until it takes connections, however long a recovery takes."""
        options = {
            "port": str(self._port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._socket_dir),
            **self._options,
        }
        settings = [word for item in options.items() for word in ("-c", "=".join(item))]
        said_before, stale = self._log_size(), read_pid_file(self._pgdata)
        began = told = time.monotonic()
        server = str(self.bin_dir / "postgres")
        self._process = self._spawn(server, "-D", str(self._pgdata), *settings)
        while True:
            state = read_pid_file(self._pgdata)
            if state and state != stale and state.pid == self._process.pid and state.is_ready:
                break
            if self._process.poll() is not None:
                said = self._said_since(said_before)
                kind = _Passing if PASSES.search(said) else EmbeddedError
                raise kind(f"PostgreSQL did not start (see {self._log}):\n{_last(said)}")
            if time.monotonic() - told > 5:
                told = time.monotonic()
                logger.info("waiting for PostgreSQL to recover (%.0f s)", told - began)
            await asyncio.sleep(0.02)
        logger.info("PostgreSQL %d runs as process %d", self.version, self._process.pid)

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _said_since(self, position: int) -> str:
        with self._log.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")

    async def _open_database(self) -> None:
        """Create the database where it is missing, and see that it can be reached."""
        try:
            connection = await asyncpg.connect(self.url, database="postgres")
            try:
                known = "SELECT FROM pg_database WHERE datname = $1"
                if not await connection.fetch(known, DATABASE):
                    await connection.execute(f"CREATE DATABASE {DATABASE}")
                if self._password_is_new:  # at initdb too, but pgpass may have been lost since
                    await connection.execute(f"ALTER ROLE postgres PASSWORD '{self._password}'")
            finally:
                await connection.close()
        except (asyncpg.PostgresError, TimeoutError) as error:
            raise EmbeddedError(f"PostgreSQL refuses our connection: {error}") from error
        if self._password_is_new or self._port != self._known_port:
            pgpass = f"127.0.0.1:{self._port}:*:postgres:{self._password}\n"
            write_private(self.data_dir / "pgpass", pgpass, os.O_TRUNC)

    async def _keep_running(self) -> None:
        """Start the server again whenever it dies, at the same address."""
        assert self._process
        deaths = 0
        while True:
            born = time.monotonic()
            await _ends(self._process)
            deaths = 0 if time.monotonic() - born > 60 else deaths
            code = self._process.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            logger.error("PostgreSQL ended by itself (%s); starting it again", how)
            await asyncio.sleep(PAUSES[min(deaths, len(PAUSES) - 1)])
            deaths += 1
            try:
                if not is_served(self._pgdata, self._socket_dir):
                    await self._launch()
            except (EmbeddedError, OSError) as error:
                logger.error("%s", error)

    async def _shut_down(self) -> None:
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        try:
            for sign, patience in SHUTDOWN:
                if self._process is None or await _ends(self._process, 0):
                    break
                self._process.send_signal(sign)
                await _ends(self._process, patience)
        finally:
            if self._lock is not None:
                if self._socket_dir.parent != self.data_dir:
                    with suppress(OSError):
                        self._socket_dir.rmdir()
                os.close(self._lock)
                self._lock = None


@asynccontextmanager
async def borrowed(data_dir: Path) -> AsyncIterator[str]:
    """URL of the server that runs on the folder, else of one started for the time being.

    For one-off commands; a server of another process goes away with that process.
    """
    server = Postgres(data_dir)
    deadline = time.monotonic() + PATIENCE
    while (url := running_url(data_dir)) is None:
        try:
            await server.start()
            break
        except AlreadyRunning:  # it is only just starting, or stopping
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    try:
        yield url or server.url
    finally:
        await server.stop()


def running_url(data_dir: Path) -> str | None:
    """URL of the server that a process of ours runs on the folder, None if there is none.

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
    return url_of(socket_dir_of(data_dir), state.port)


def _last(said: str) -> str:
    return "\n".join(said.splitlines()[-12:])


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ends(process: subprocess.Popen[bytes], seconds: float = math.inf) -> bool:
    """Wait until a process ends; False if it did not within the seconds."""
    deadline = time.monotonic() + seconds
    # Polled: see _spawn on why it is a plain Popen.
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.03)
    return process.poll() is not None
