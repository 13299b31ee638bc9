"""Jobs: background work, which the module that knows about it gives to the worker.

A module with some has `jobs(settings)`. A job finds, twice a second or less often, the stores that
have something to do, and does it for each of them apart: what is slow or broken for one store holds
up no other. Any number of workers may run; whatever must not be done twice, the database decides.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import TextClause

from service.database.pool import Database

EVERY_SECONDS = 0.5
"""Between looks, where nothing else is said."""
ROWS_AT_ONCE = 1000
"""How many rows one call writes down or forgets, so that it is short."""


class Found(msgspec.Struct, frozen=True):
    """What a job has found something to do for, as functions of sql/ name it."""

    store_id: str
    target: str = ""
    """A part of the store's work that goes on beside its others, such as one hook's."""
    found_at: datetime | None = None
    """The database's time, for those who need it."""

    @property
    def key(self) -> tuple[str, str]:
        """What is done once at a time."""
        return self.store_id, self.target


Find = Callable[[Database], Awaitable[Sequence[Found]]]
Do = Callable[[Database, Found], Awaitable[bool]]


class Job(NamedTuple):
    """One kind of background work."""

    name: str
    find: Find
    do: Do
    """Does it, and says whether there may be more of it."""
    every: float = EVERY_SECONDS
    """Seconds between looks."""
    at_once: int = 4
    """For how many stores or targets it is done at a time."""


FOUND = msgspec.json.Decoder(list[Found])


def found_by(statement: TextClause, **parameters: Any) -> Find:
    """Find by a function that answers an array of stores."""

    async def find(database: Database) -> list[Found]:
        row = await database.read(statement, **parameters)
        return FOUND.decode(row.document)

    return find


def done_by(statement: TextClause, **parameters: Any) -> Do:
    """Do by a function that takes a store and a limit and answers how many rows it has `done`."""

    async def do(database: Database, found: Found) -> bool:
        row = await database.call(
            statement, store_id=found.store_id, limit=ROWS_AT_ONCE, **parameters
        )
        return bool(row.done == ROWS_AT_ONCE)

    return do
