"""A link to PostgreSQL that a test can silence, hold up and cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qs, urlsplit, urlunsplit

LONGEST_MESSAGE = 65536


class Link:
    """A TCP port on loopback that leads to the server of `dsn`, also where that is a socket file.

    Each direction flows while its event is set. What is held back is not lost, as on a real link.
    """

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._host = query.pop("host", parts.hostname or "127.0.0.1")
        self._port = int(query.pop("port", parts.port or 5432))
        self._parts = parts
        self.to_server = asyncio.Event()
        self.to_client = asyncio.Event()
        self.is_refusing = False
        self.delay = 0.0
        """Seconds that every message takes, in each direction."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The database of `dsn`, by way of this link."""
        port = self._server.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{port}", query=""))

    @property
    def connections(self) -> int:
        """How many clients hold a connection."""
        return len(self._writers) // 2

    def heal(self) -> None:
        """Let everything through again."""
        self.to_server.set()
        self.to_client.set()
        self.is_refusing = False
        self.delay = 0.0

    def silence(self) -> None:
        """Hold all bytes back; nobody is told."""
        self.to_server.clear()
        self.to_client.clear()

    def cut(self) -> None:
        """Break every connection, as it is now."""
        for writer in self._writers:
            writer.transport.abort()

    async def start(self) -> None:
        self.heal()
        self._server = await asyncio.start_server(self._connect, "127.0.0.1")

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.is_refusing:
                raise ConnectionRefusedError
            if self._host.startswith("/"):
                path = f"{self._host}/.s.PGSQL.{self._port}"
                far_reader, far_writer = await asyncio.open_unix_connection(path)
            else:
                far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, far_writer}
        self._writers |= pair
        for pump in (
            self._pump(reader, far_writer, self.to_server, pair),
            self._pump(far_reader, writer, self.to_client, pair),
        ):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        flows: asyncio.Event,
        pair: set[asyncio.StreamWriter],
    ) -> None:
        try:
            with suppress(OSError):
                while message := await reader.read(LONGEST_MESSAGE):
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    await flows.wait()
                    writer.write(message)
                    await writer.drain()
                await flows.wait()
        finally:
            for each in pair:
                each.transport.abort() if each is not writer else each.close()
            self._writers -= pair


@asynccontextmanager
async def link_to(dsn: str) -> AsyncIterator[Link]:
    """A link to the server of `dsn`, cut at the end."""
    link = Link(dsn)
    await link.start()
    try:
        yield link
    finally:
        await link.stop()
