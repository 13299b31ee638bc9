"""How often an address may ask what is open to all.

Counted in each process, not in the database: a flood then costs a look into a dictionary, no
connection and no write, and is stopped while PostgreSQL is away, too. Of several processes each
counts for itself, so that an address with many connections gets the limit as many times at most.
What must hold exactly (wrong passwords, registrations a day) is counted by functions of sql/.
"""

import time
from collections.abc import Callable
from math import ceil

MOST_KNOWN = 100_000
"""Addresses remembered at once, some 20 MB; beyond that the oldest begins anew."""


class Limiter:
    """Counts calls of each subject in windows of `seconds` that begin with the first one."""

    def __init__(
        self, most: int, seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._windows: dict[str, list[float]] = {}  # [calls, end], in the order of their ends

    def take(self, subject: str) -> int:
        """Count a call; the seconds to wait, 0 where it may go on. A limit of 0 is none."""
        if not self._most:
            return 0
        now = self._clock()
        self._forget(now)
        window = self._windows.setdefault(subject, [0, now + self._seconds])
        window[0] += 1
        return ceil(window[1] - now) if window[0] > self._most else 0

    def _forget(self, now: float) -> None:
        while self._windows:
            oldest = next(iter(self._windows))
            if self._windows[oldest][1] > now and len(self._windows) < MOST_KNOWN:
                break
            del self._windows[oldest]
