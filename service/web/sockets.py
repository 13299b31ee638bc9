"""WebSockets that are written to past aiohttp.

A task or a coroutine per socket and message would cost the callers of a store with 2,000 watchers
a good part of their reservations: frames go to the transport itself, made once for all.
"""

import asyncio
import struct
import time
from contextlib import suppress

from aiohttp import WSCloseCode, web

CLOSE_SECONDS = 2.0
LEEWAY = 16384
"""Bytes not yet sent that do not make a socket count as behind."""


class PushSocket:
    """One socket, and how far behind it is."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self.socket = socket
        self.code: WSCloseCode | None = None
        """What we have closed it with."""
        self._transport = transport
        self._left = 0
        self._since = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether nothing more can be written."""
        return self.socket.closed or self._transport.is_closing()

    @property
    def is_behind(self) -> bool:
        """Whether it has not taken yet what was written."""
        return self._transport.get_write_buffer_size() > LEEWAY

    def write(self, frame: bytes) -> None:
        """Send a frame, or keep it until the socket takes it."""
        self._left = 0
        self._transport.write(frame)

    def is_stalled(self, patience: float) -> bool:
        """Whether it has taken nothing for so many seconds that it was seen to be behind."""
        left, now = self._transport.get_write_buffer_size(), time.monotonic()
        if not self._left or left < self._left:
            self._since = now
        self._left = left
        return now - self._since > patience

    async def close(self, code: WSCloseCode, reason: str) -> None:
        """Say goodbye, in CLOSE_SECONDS at most."""
        self.code = code
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.socket.close(code=code, message=reason.encode(), drain=False)

    def leave(self) -> None:
        """Not even the goodbye may wait for ever in a buffer that nobody empties."""
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._abort)

    def _abort(self) -> None:
        if self._transport.get_write_buffer_size():
            self._transport.abort()


def text_frame(message: bytes) -> bytes:
    """A whole text message as RFC 6455 has it: not masked, not compressed."""
    length = len(message)
    if length < 126:
        return struct.pack("!BB", 0x81, length) + message
    if length < 65536:
        return struct.pack("!BBH", 0x81, 126, length) + message
    return struct.pack("!BBQ", 0x81, 127, length) + message
