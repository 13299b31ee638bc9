"""CPU: what a reservation costs Python, PostgreSQL and the load generator.

On a machine that others use too, seconds say who else was there; time on a processor does so far
less.
"""

import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = "worker"
"""The command of a process that answers no requests."""


@dataclass(frozen=True)
class Spent:
    """Seconds on a processor."""

    python: float
    """Of the processes that answer requests."""
    postgres: float
    """Of the server with all its backends."""
    load: float
    """Of the load generators that have ended."""

    def since(self, before: "Spent") -> "Spent":
        """What was spent after `before`."""
        return Spent(
            self.python - before.python, self.postgres - before.postgres, self.load - before.load
        )

    def each(self, answered: int) -> dict[str, Any]:
        """Microseconds of each, per reservation."""
        return {
            "python_us": self.python * 1e6 / answered,
            "postgres_us": self.postgres * 1e6 / answered,
            "load_us": self.load * 1e6 / answered,
        }


def spent(pids: Sequence[int], postmaster: int | None) -> Spent:
    """What the processes that serve, with their children, and the server have spent so far."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(
        python=sum(seconds(pid) for pid in descendants(pids) if not _is_worker(pid)),
        postgres=sum(seconds(pid) for pid in descendants([postmaster] if postmaster else [])),
        load=children.ru_utime + children.ru_stime,
    )


def seconds(pid: int) -> float:
    """What a process has spent, by the scheduler's count; 0 where it has ended."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    try:
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    except OSError:
        return 0.0


def descendants(pids: Sequence[int]) -> list[int]:
    """The processes and their children, at any depth."""
    found = list(pids)
    for pid in found:
        with suppress(OSError):  # it has just ended
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def _is_worker(pid: int) -> bool:
    try:
        return WORKER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
