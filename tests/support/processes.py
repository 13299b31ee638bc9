"""The service and its commands in processes of their own, as an operator runs them."""

import asyncio
import os
import re
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

SECONDS_TO_START = 120.0


def environment(**settings: object) -> dict[str, str]:
    """What a process of ours sees: settings as environment variables, none of the tests' own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    clean["HOLDFAST_ENV_FILE"] = os.devnull
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
        """Wait until it says where it serves, and all its processes say that they listen."""
        await self._is_at(r"Serving on (http://([\w.]+):(\d+))")
        if processes > 1:
            listening = await self.says(r"API process (\d+) listens", times=processes)
            self.children = [int(found[1]) for found in listening]
        return self

    async def listens(self) -> "Service":
        """Wait until it says where it listens, and that it cannot serve yet."""
        return await self._is_at(r"Listening on (http://([\w.]+):(\d+)), not serving yet: .")

    async def _is_at(self, pattern: str) -> "Service":
        found = (await self.says(pattern))[0]
        self.url, self.host, self.port = found[1], found[2], int(found[3])
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


def open_files(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def finish(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Exit status and all that was printed."""
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    return process.returncode, output.decode()
