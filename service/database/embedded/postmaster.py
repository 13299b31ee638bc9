"""The server's process: started, started again when it dies, and stopped."""

import asyncio
import logging
import re
import signal
import socket
import subprocess
import time

from service.database.embedded.files import EmbeddedError, is_served, read_pid_file
from service.database.embedded.installation import Installation, ends, last_of

PATIENCE = 30.0  # seconds for whoever had the folder before to be done with it
SHUTDOWN = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # seconds each
PAUSES = (0.0, 0.2, 0.5, 1.0, 5.0, 15.0)  # seconds before the n-th restart in a row
PASSES = re.compile(  # what an earlier server leaves for a moment, or a port that was just taken
    "lock file .* already exists|pre-existing shared memory|could not create any TCP/IP sockets"
)

logger = logging.getLogger("holdfast.postgres")


class _Passing(EmbeddedError):
    """The server could not start for a reason that goes away by itself."""


class Postmaster:
    """PostgreSQL's first process on a cluster, by which all others of it live and die."""

    def __init__(self, installation: Installation) -> None:
        self.port = 0
        self._here = installation
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None when it is down."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    async def start(self, wanted_port: int) -> None:
        """Launch, on that port if it is free; where a killed service's server still goes down,
        wait for it.
        """
        deadline = time.monotonic() + PATIENCE
        told = False
        while True:
            pgdata = self._here.pgdata
            if is_served(pgdata, self._here.socket_dir):
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"Another PostgreSQL runs on {pgdata}; stop it first.")
            else:
                self.port = _free_port(wanted_port)
                try:
                    return await self._launch()
                except _Passing:
                    if time.monotonic() > deadline:
                        raise
            if not told:
                logger.warning("an earlier PostgreSQL still uses %s; waiting for it", pgdata)
                told = True
            await asyncio.sleep(0.05)

    def keep_running(self) -> None:
        """From now on start the server again whenever it dies, at the same address."""
        self._keeper = asyncio.create_task(self._keep_running())

    async def stop(self) -> None:
        """End it, ever less gently: open transactions are rolled back."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        for sign, patience in SHUTDOWN:
            if self._process is None or await ends(self._process, 0):
                break
            self._process.send_signal(sign)
            await ends(self._process, patience)

    async def _launch(self) -> None:
        """Start the server and wait until it takes connections, however long a recovery takes."""
        here = self._here
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(here.socket_dir),
            **here.options,
        }
        settings = [word for item in options.items() for word in ("-c", "=".join(item))]
        said_before, stale = here.log_size(), read_pid_file(here.pgdata)
        began = told = time.monotonic()
        server = str(here.bin_dir / "postgres")
        self._process = here.spawn(server, "-D", str(here.pgdata), *settings)
        while True:
            state = read_pid_file(here.pgdata)
            if state and state != stale and state.pid == self._process.pid and state.is_ready:
                break
            if self._process.poll() is not None:
                said = here.said_since(said_before)
                kind = _Passing if PASSES.search(said) else EmbeddedError
                raise kind(f"PostgreSQL did not start (see {here.log}):\n{last_of(said)}")
            if time.monotonic() - told > 5:
                told = time.monotonic()
                logger.info("waiting for PostgreSQL to recover (%.0f s)", told - began)
            await asyncio.sleep(0.02)
        logger.info("PostgreSQL %d runs as process %d", here.version, self._process.pid)

    async def _keep_running(self) -> None:
        assert self._process
        deaths = 0
        while True:
            born = time.monotonic()
            await ends(self._process)
            deaths = 0 if time.monotonic() - born > 60 else deaths
            code = self._process.returncode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            logger.error("PostgreSQL ended by itself (%s); starting it again", how)
            await asyncio.sleep(PAUSES[min(deaths, len(PAUSES) - 1)])
            deaths += 1
            try:
                if not is_served(self._here.pgdata, self._here.socket_dir):
                    await self._launch()
            except (EmbeddedError, OSError) as error:
                logger.error("%s", error)


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
