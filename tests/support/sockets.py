"""A client of the feed that does not read."""

import asyncio
import socket as sockets

from tests.support.builders import FEED, HANDSHAKE


class SlowReader:
    """A client that reads when it is told to, with a small buffer."""

    def __init__(self, host: str, port: int | None, mode: str) -> None:
        self._path = f"{FEED}main?mode={mode}"
        self._address = host, port

    async def connect(self) -> None:
        self.reader: asyncio.StreamReader | None = None
        self.socket = sockets.socket()
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, self._address)
        lines = [f"GET {self._path} HTTP/1.1", "Host: holdfast"]
        lines += [f"{name}: {value}" for name, value in HANDSHAKE.items()]
        await loop.sock_sendall(self.socket, "\r\n".join([*lines, "", ""]).encode())

    async def read(self) -> tuple[int, bytes]:
        """The next frame: its first byte and its content; IncompleteReadError at the end."""
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection(sock=self.socket)
            await self.reader.readuntil(b"\r\n\r\n")
        head, length = await self.reader.readexactly(2)
        if length > 125:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
        return head, await self.reader.readexactly(length)

    def close(self) -> None:
        (self.writer if self.reader else self.socket).close()

    async def frames(self) -> list[tuple[int, bytes]]:
        """All that still comes, until the connection ends."""
        found = []
        async with asyncio.timeout(60):
            while True:
                try:
                    found.append(await self.read())
                except (asyncio.IncompleteReadError, ConnectionError):
                    return found
