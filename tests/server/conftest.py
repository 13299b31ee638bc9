"""The service and its commands in processes of their own, as an operator runs them."""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.settings import ROOT

SECONDS_TO_START = 30.0
RESERVE = "/api/v1/reserve"


def environment(**settings: object) -> dict[str, str]:
    """What a process of ours sees: settings as environment variables, none of the tests' own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    return clean | {f"HOLDFAST_{name.upper()}": str(value) for name, value in settings.items()}


class Service:
    """A running `python -m service …`: its log, its address, its end."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        self._grew = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            async with self._grew:
                self.log.append(line.decode().rstrip("\n"))
                self._grew.notify_all()

    async def says(
        self, pattern: str, *, times: int = 1, seconds: float = SECONDS_TO_START
    ) -> list[re.Match[str]]:
        """Wait until so many lines of the log, past or to come, match."""
        try:
            async with asyncio.timeout(seconds), self._grew:
                while True:
                    found = [match for line in self.log if (match := re.search(pattern, line))]
                    if len(found) >= times:
                        return found
                    await self._grew.wait()
        except TimeoutError:
            raise AssertionError(f"no line matches {pattern!r}:\n" + "\n".join(self.log)) from None

    async def serves(self, processes: int = 1) -> "Service":
        """Wait until it says where it serves, and all its processes say that they do."""
        (found,) = await self.says(r"Serving on (http://([\w.]+):(\d+))")
        self.url, self.host, self.port = found[1], found[2], int(found[3])
        if processes > 1:
            serving = await self.says(r"API process (\d+) serves", times=processes)
            self.children = [int(found[1]) for found in serving]
        return self

    async def stop(self, number: int = signal.SIGTERM, *, seconds: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ends(seconds=seconds)

    async def ends(self, *, seconds: float = SECONDS_TO_START) -> int:
        """Wait for the end; the exit code."""
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await self._reader
        return code


Start = Callable[..., Awaitable[Service]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """start("serve", database_url=…): a process of ours, ended after the test."""
    started: list[Service] = []

    async def run(*arguments: str, **settings: object) -> Service:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *arguments),
            cwd=ROOT,
            env=environment(**settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        started.append(Service(process))
        return started[-1]

    yield run
    for service in started:
        if service.process.returncode is None:
            await service.stop()


@pytest.fixture
async def serve_process(start: Start, dsn: str) -> Start:
    """serve_process(processes=2): `serve` on this test's database and a free port, serving."""

    async def run(*arguments: str, processes: int = 1, **settings: object) -> Service:
        settings = {"database_url": dsn, "port": 0, "processes": processes, **settings}
        return await (await start("serve", *arguments, **settings)).serves(processes)

    return run


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of any address, that opens a connection for each request."""
    connector = aiohttp.TCPConnector(force_close=True, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder not made yet, under one that every user may pass (pytest's own are closed)."""
    parent = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    deadline = time.monotonic() + 15
    while list(parent.rglob("postmaster.pid")) and time.monotonic() < deadline:
        time.sleep(0.02)  # the server of a service that was killed
    shutil.rmtree(parent)


async def becomes(condition: Callable[[], Awaitable[Any]], *, seconds: float = 15.0) -> Any:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (answer := await condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return answer


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
