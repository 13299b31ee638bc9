"""What one data folder is run with: which programs, as which account, with what in which file."""

import asyncio
import logging
import math
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from service.database.embedded.account import (
    ENVIRONMENT,
    Account,
    account_of,
    make_private,
    wrapper_for,
)
from service.database.embedded.binaries import fitting_binaries, installed_binaries, version_of
from service.database.embedded.files import EmbeddedError, socket_dir_of

LARGEST_LOG = 16 * 1024 * 1024  # bytes; a longer log is set aside at the next start

logger = logging.getLogger("holdfast.postgres")


class Installation(NamedTuple):
    """Programs, account and folders, settled before anything is made or started."""

    data_dir: Path
    version: int
    """The major version in use, such as 18."""
    bin_dir: Path
    account: Account
    wrapper: list[str]
    """What goes before a command, so that it runs as the account and ends with us."""
    options: Mapping[str, str]
    """Settings for this run, as in `postgres -c`."""

    @classmethod
    def choose(cls, data_dir: Path, bin_dir: Path | None, options: Mapping[str, str]) -> Self:
        """The programs that fit the data, the account they run as; raises EmbeddedError."""
        found = [(version_of(bin_dir), bin_dir)] if bin_dir else installed_binaries()
        version, chosen = fitting_binaries(found, data_dir)
        account = account_of(data_dir / "postgres")
        wrapper = wrapper_for(account, chosen, data_dir)
        here = cls(data_dir, version, chosen, account, wrapper, dict(options))
        make_private(here.socket_dir, account)
        if here.log.exists() and here.log.stat().st_size > LARGEST_LOG:
            here.log.replace(here.log.with_name("postgres.log.1"))
        return here

    @property
    def pgdata(self) -> Path:
        """The cluster."""
        return self.data_dir / "postgres"

    @property
    def log(self) -> Path:
        """What the programs say."""
        return self.data_dir / "postgres.log"

    @property
    def socket_dir(self) -> Path:
        """Where the server's socket is."""
        return socket_dir_of(self.data_dir)

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a program as the account, that ends when the thread that called this does."""
        # A plain Popen: asyncio's transport would SIGKILL the server when the loop is closed.
        # A session of its own: Ctrl-C is for us, who still need the server to finish our requests.
        # The shell ends at once if we died before the death signal was in place.
        guard = ("/bin/sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid()))
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            return subprocess.Popen(
                [*self.wrapper, *guard, *command],
                cwd="/",
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def run(self, *command: str) -> None:
        """Run a program to its end; EmbeddedError with what it said if it failed."""
        said_before = self.log_size()
        process = self.spawn(*command)
        try:
            await ends(process)
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise EmbeddedError(f"{command[0]} failed:\n{last_of(self.said_since(said_before))}")

    def log_size(self) -> int:
        """How long the log is."""
        return self.log.stat().st_size if self.log.exists() else 0

    def said_since(self, position: int) -> str:
        """What the log holds after a position."""
        with self.log.open("rb") as log:
            log.seek(position)
            return log.read().decode(errors="replace")


def last_of(said: str) -> str:
    """The last lines of what a program said."""
    return "\n".join(said.splitlines()[-12:])


async def ends(process: subprocess.Popen[bytes], seconds: float = math.inf) -> bool:
    """Wait until a process ends; False if it did not within the seconds."""
    deadline = time.monotonic() + seconds
    # Polled: see `spawn` on why it is a plain Popen.
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.03)
    return process.poll() is not None
