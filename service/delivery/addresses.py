"""Addresses that we connect to on somebody's behalf: who may name a URL could name our own.

An address is judged where the socket to it is made, however the URL or a resolver came to it; so
what was judged is what is connected to, whatever the resolver says the next time.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from service.settings import Network

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Sequence[str]]
"""The addresses of a name; it may take its time."""

THREADS = 32
"""Names that are slow to resolve may not hold up the others."""
TRANSLATED = [ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48")]
"""Their addresses end with an IPv4 address that a gateway (NAT64) goes on to."""


class ForbiddenAddress(OSError):
    """An address that is not connected to."""

    def __init__(self, address: str) -> None:
        super().__init__(errno.EACCES, f"{address} is no public address")

    def __str__(self) -> str:
        """Without the number."""
        return str(self.strerror)


class Guard:
    """Which addresses may be connected to: public ones, and those of some networks."""

    def __init__(self, *, is_open: bool, networks: Sequence[Network] = ()) -> None:
        self._is_open, self._networks = is_open, networks

    def check(self, written: str) -> None:
        """Raise ForbiddenAddress; ValueError where it is no address."""
        address = ip_address(written.partition("%")[0])
        if self._is_open or any(address in network for network in self._networks):
            return
        if not all(each.is_global and not each.is_multicast for each in _meant(address)):
            raise ForbiddenAddress(written)

    def open_socket(self, found: Any) -> socket.socket:
        """A socket for an address as getaddrinfo finds it; ForbiddenAddress."""
        family, kind, protocol, _, address = found
        self.check(address[0])
        return socket.socket(family, kind, protocol)


class Resolver(AbstractResolver):
    """Resolves names for aiohttp in threads of its own."""

    def __init__(self, lookup: Lookup | None = None) -> None:
        self._lookup = lookup or look_up
        self._threads = ThreadPoolExecutor(THREADS, "resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a host."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._lookup, host, port)
        return [_result(host, port, address) for address in found]

    async def close(self) -> None:
        """Begin no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, each once, in the system's order."""
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _result(host: str, port: int, address: str) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )


def _meant(address: Address) -> Iterator[Address]:
    """Where one gets by an address: to itself, or to IPv4 addresses that it holds.

    Whether an address of 6to4 is global depends on the release of Python; what it holds decides.
    """
    held = isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour)
    if held:
        yield held
        return
    yield address
    if isinstance(address, IPv6Address):
        if address.teredo:
            yield from address.teredo
        if any(address in network for network in TRANSLATED):
            yield IPv4Address(int(address) & 0xFFFFFFFF)
