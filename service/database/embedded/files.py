"""The data folder of a server of our own, and what can be read off it.

postgres/      the database cluster (PGDATA)
run/           the socket; only the server's account and root may enter, so it asks no password
lock           locked while a service uses the folder; names its process
pgpass         port and password for clients over TCP (a libpq passfile)
postgres.log   what the server says
"""

import fcntl
import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

DATABASE = "holdfast"
LONGEST_SOCKET_PATH = 103  # bytes; 107 on Linux, fewer elsewhere


class EmbeddedError(Exception):
    """The server cannot be had; the message is fit to be shown to a person."""


class PidFile(NamedTuple):
    """What a server tells of itself in postmaster.pid."""

    pid: int
    started_at: int
    port: int
    is_ready: bool


def initialised_version(data_dir: Path) -> int | None:
    """The major version of the cluster in a data folder, None where there is none."""
    try:
        return int((data_dir / "postgres" / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EmbeddedError(f"{data_dir} cannot be read: {error}") from error


def socket_dir_of(data_dir: Path) -> Path:
    """Where the socket of a data folder's server is."""
    run = data_dir / "run"
    # libpq reads a comma in the path as a list; other odd characters want quoting somewhere.
    length = len(os.fsencode(run / ".s.PGSQL.65535"))
    if length <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w/.+-]+", str(run)):
        return run
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(f"/tmp/holdfast-{digest}")  # noqa: S108 - see make_private


class Urls(NamedTuple):
    """The database over its socket, for each login; they hold no secret."""

    superuser: str
    owner: str
    """For migrations, and for people who may change everything."""
    service: str
    """For the service and its worker."""


def urls_of(socket_dir: Path, port: int) -> Urls:
    """The URLs of the server behind a socket."""
    rest = f"@/{DATABASE}?host={quote(str(socket_dir), safe='')}&port={port}"
    logins = ("postgres", "holdfast_admin", "holdfast_login")
    return Urls(*(f"postgresql://{login}{rest}" for login in logins))


def read_pid_file(pgdata: Path) -> PidFile | None:
    """What the server of a cluster tells of itself; None without, or while it is half written."""
    try:
        lines = (pgdata / "postmaster.pid").read_text().splitlines()
        is_ready = lines[7].strip() == "ready"
        return PidFile(int(lines[0]), int(lines[2]), int(lines[3]), is_ready)
    except (OSError, ValueError, IndexError):
        return None


def is_served(pgdata: Path, socket_dir: Path) -> bool:
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


def try_lock(descriptor: int, kind: int) -> bool:
    """Whether a file could be locked without waiting."""
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def write_private(path: Path, text: str, how: int) -> None:
    """Write a text that lasts, in a file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | how, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
