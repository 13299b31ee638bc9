"""Bytes as they go over the wire, for what no client would send."""

import asyncio

from tests.support.aliases import Api


async def exchange(api: Api, sent: bytes, *, seconds: float = 15.0) -> tuple[str, bytes]:
    """Head and body of what the server answers until it closes the connection, or for a while."""
    reader, writer = await asyncio.open_connection(api.server.host, api.server.port)
    writer.write(sent)
    try:
        async with asyncio.timeout(seconds):
            head = await reader.readuntil(b"\r\n\r\n")
            length = head_of(head.decode()).get("content-length", "0")
            return head.decode(), await reader.readexactly(int(length))
    finally:
        writer.close()


def head_of(head: str) -> dict[str, str]:
    """The headers of an answer, their names in lower case."""
    pairs = (line.partition(": ") for line in head.split("\r\n")[1:] if line)
    return {name.lower(): value for name, _, value in pairs}
