"""How many connections a process holds, and what it holds for clients that do not read.

Descriptors are kept back for the database, for files, and for newcomers: who comes when all is
full is still heard, so that health is answered, and told 503 in so many words.
"""

import logging
import resource
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from service.web.clients import network_of

MAX_BACKLOG = 1024
"""Connections that the kernel holds before they are accepted, and newcomers that are heard."""
KEPT_FILES = 48
"""For the database (16 and those beside), listening, the log, temporary files, pipes."""
SMALLEST = 16
"""Connections, however few descriptors there are."""
WARN_SECONDS = 10.0

SEND_SECONDS = 15.0
"""Within which a client that is being sent something takes PROGRESS_BYTES of it, or is cut off."""
PROGRESS_BYTES = 16 * 1024
MAX_UNSENT_BYTES = 64 * 1024 * 1024
"""Of all answers together that wait for slow clients."""

logger = logging.getLogger("holdfast.http")


class Room(NamedTuple):
    """How many connections a process has room for."""

    connections: int
    newcomers: int
    """Beside them: heard, told 503 and closed. Also the backlog, which is accepted at once."""


def room_for(wanted: int) -> Room:
    """The room for `wanted` connections, as far as the limit of open files can be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = KEPT_FILES + MAX_BACKLOG + wanted
    if soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    newcomers = max(min((soft - KEPT_FILES) // 3, MAX_BACKLOG), SMALLEST)
    return Room(max(min(soft - KEPT_FILES - newcomers, wanted), SMALLEST), newcomers)


class Guest(Protocol):
    """A connection, as far as it is counted here."""

    @property
    def is_silent(self) -> bool:
        """Whether it has not said yet what it wants."""

    def turn_away(self) -> None:
        """Tell it that the service is overloaded, and close it."""


class Connections:
    """Counts the open connections of a process, in all and by address."""

    def __init__(self, room: Room, of_an_address: int, is_proxy: Callable[[str], bool]) -> None:
        self._room = room
        self.newcomers = room.newcomers
        self._most_of_an_address = of_an_address
        self._is_proxy = is_proxy
        self._open = 0
        self._by_address: Counter[str] = Counter()
        self._newcomers: dict[Guest, None] = {}
        self._warned_at = -WARN_SECONDS

    def __len__(self) -> int:
        return self._open + len(self._newcomers)

    def admit(self, guest: Guest, peer: str) -> bool:
        """Whether there is room for a connection; else it is heard, and given `leave` likewise.

        Where even the newcomers are too many, the oldest who has said nothing yet makes room.
        """
        address = network_of(peer)
        held = self._by_address[address]
        if self._open >= self._room.connections:
            self._warn(f"{self._open} of {self._room.connections} are open")
        elif held >= self._most_of_an_address and not self._is_proxy(peer):
            self._warn(f"{address} has {held}")
        else:
            self._open += 1
            self._by_address[address] = held + 1
            return True
        self._newcomers[guest] = None
        if len(self._newcomers) > self._room.newcomers:
            oldest = next((each for each in self._newcomers if each.is_silent), guest)
            oldest.turn_away()
            self._newcomers.pop(oldest, None)
        return False

    def leave(self, guest: Guest, peer: str, *, is_admitted: bool) -> None:
        """A connection is closed."""
        if not is_admitted:
            self._newcomers.pop(guest, None)
            return
        self._open -= 1
        address = network_of(peer)
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]

    def _warn(self, why: str) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARN_SECONDS:
            self._warned_at = now
            logger.warning("Too many connections, newcomers are answered 503: %s", why)


class Sending(Protocol):
    """A transport, as far as it is watched here."""

    def get_write_buffer_size(self) -> int:
        """Bytes that the client has not taken."""

    def get_extra_info(self, name: str) -> Any:
        """Its socket, for one."""

    def abort(self) -> None:
        """Close it, whatever was not sent."""


class _Stuck(NamedTuple):
    left: int
    since: float


class Unsent:
    """Transports that nothing more is written to until their clients have taken what waits.

    Who takes too little for too long is cut off; and where all together hold too much, whoever
    has taken nothing for the longest.
    """

    def __init__(self) -> None:
        self._stuck: dict[Sending, _Stuck] = {}

    @property
    def total(self) -> int:
        """Bytes that wait in all."""
        return sum(each.get_write_buffer_size() for each in self._stuck)

    def add(self, transport: Sending) -> None:
        """It has more to send than its client takes at once."""
        left = transport.get_write_buffer_size()
        self._stuck.setdefault(transport, _Stuck(left, time.monotonic()))
        total = self.total
        while total > MAX_UNSENT_BYTES and len(self._stuck) > 1:
            longest = min(self._stuck, key=lambda each: self._stuck[each].since)
            total -= longest.get_write_buffer_size()
            self._cut_off(longest, "answers that nobody reads hold too much memory")

    def remove(self, transport: Sending) -> None:
        """Its client has caught up, or is gone."""
        self._stuck.pop(transport, None)

    def look(self) -> None:
        """See who has taken something since the last time, and cut off who took too little."""
        now = time.monotonic()
        for transport, before in list(self._stuck.items()):
            left = transport.get_write_buffer_size()
            if left <= before.left - PROGRESS_BYTES:
                self._stuck[transport] = _Stuck(left, now)
            elif now - before.since > SEND_SECONDS:
                self._cut_off(transport, f"it took too little for {SEND_SECONDS:.0f} s")

    def _cut_off(self, transport: Sending, why: str) -> None:
        del self._stuck[transport]
        logger.info("A client is cut off: %s", why)
        if endpoint := transport.get_extra_info("socket"):  # so that the kernel gives up, too
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
