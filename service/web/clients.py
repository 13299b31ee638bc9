"""Where requests come from: addresses as proxies of ours tell them, and as limits count them."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from aiohttp import web

from service.results import Refusal
from service.settings import Network, Settings

FORWARDED_FOR = "X-Forwarded-For"
OF_PROXIES = (FORWARDED_FOR, "Forwarded", "X-Real-IP")
"""Headers by which a request shows that somebody sent it on."""

Address = IPv4Address | IPv6Address


class Clients:
    """Tells the address of a request's client, and whether health and metrics are told to it."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = settings.proxies
        self._monitors = settings.monitor_networks

    def address(self, request: web.Request) -> str:
        """The client's address: the nearest in X-Forwarded-For that is no proxy of ours."""
        peer = request.remote or ""
        if not self._proxies or FORWARDED_FOR not in request.headers or not self.is_proxy(peer):
            return peer
        hops = ",".join(request.headers.getall(FORWARDED_FOR)).split(",")
        address = _of_peer(peer)
        while hops and address and _is_in(address, self._proxies):
            nearer = parse_address(hops.pop())
            if nearer is None:
                break
            address = nearer
        return str(address)

    def network(self, request: web.Request) -> str:
        """What limits count a request's client by, see `network_of`."""
        return network_of(self.address(request))

    def is_proxy(self, peer: str) -> bool:
        """Whether a peer is a proxy of ours, which speaks for many clients."""
        address = _of_peer(peer)
        return address is not None and _is_in(address, self._proxies)

    def may_monitor(self, request: web.Request) -> bool:
        """Whether a client is on this machine, or in HOLDFAST_MONITORS.

        A proxy on this machine that nobody has declared speaks for others.
        """
        address = parse_address(self.address(request))
        if address is None:
            return False
        is_sent_on = any(name in request.headers for name in OF_PROXIES)
        is_here = address.is_loopback and not (is_sent_on and not self.is_proxy(str(address)))
        return is_here or _is_in(address, self._monitors)

    def check_monitor(self, request: web.Request) -> None:
        """Refuse who may not be told."""
        if not self.may_monitor(request):
            raise Refusal("forbidden", "This is for this machine and for HOLDFAST_MONITORS.")


CLIENTS = web.AppKey("CLIENTS", Clients)


def parse_address(written: str) -> Address | None:
    """An IP address as proxies write it, with a port or without; None for anything else."""
    text = written.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """An IPv4 address, or the 64 bits of an IPv6 one: what one client has."""
    parsed = _of_peer(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)


_of_peer = lru_cache(maxsize=4096)(parse_address)
"""For addresses of connections, which nobody can invent."""


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
