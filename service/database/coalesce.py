"""The coalescer: many waiting callers, one transaction.

A transaction costs about the same whether it reserves one thing or fifty; and callers of one
product queue for its row whatever we do. So let them queue here, and go together.

The lane makes one call at a time, on a connection of its own. While its call is under way, new
requests gather; when it returns, all that wait for one function of one store go as the next call.
No timer: an idle lane sends at once, and a batch is never larger than the traffic makes it.

The lane is impatient: where somebody else holds a lock, its call gives up after 0.1 s. Keys whose
rows are held then go *aside*: each has a lane of its own there, whose calls are patient, until one
succeeds. All others go again at once, so a foreign lock delays strangers by 0.1 s, once.

What else can go wrong, and who hears of it:

* A lane is full, or a request is still not sent after PATIENCE_SECONDS: `overloaded`, at once;
  waiting longer would help nobody.
* A caller gives up: before sending, its request is dropped; after, it takes effect and nobody
  listens, as on any lost connection; the id makes a repeat safe.
* A call was rolled back otherwise (a twin's unique violation, a defect that one request brings to
  light): all its keys go aside, and what fails there runs one by one, so that only the guilty do.
* The connection is lost during a call: nobody knows, so all of that call hear `outcome_unknown`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from contextvars import Context
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from service.database.pool import Database, Kept, begin_patience, in_transaction
from service.results import Refusal

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Function: TypeAlias = Callable[[Database | Kept, str, Sequence[Item]], Awaitable[Sequence[Answer]]]
"""One call for many items of a store: one answer per item, in order."""

MAX_BATCH = 500
"""A batch of so many items takes no more; what is submitted together stays together."""
MAX_WAITING = 10_000
"""Items per lane: at the slowest rate ever measured, PATIENCE_SECONDS of work."""
MAX_ASIDE = 4
"""Calls for keys aside that run at once."""
PATIENCE_SECONDS = 5.0
NOBODYS_FAULT = {"outcome_unknown", "database_unavailable", "overloaded"}
"""Refusals of a call that no single request has brought about."""
HELD_UP = {"database_busy", "database_timeout"}
"""Refusals of a call that somebody else's lock, or too much work, has held up."""


class Calls(Protocol):
    """What a coalescer asks of the database."""

    async def send(
        self, function: Function[Any, Any], store_id: str, items: Sequence[Any], *, is_patient: bool
    ) -> Sequence[Any]:
        """What the function answers. Impatient calls come one at a time."""

    async def held(self, store_id: str, keys: Collection[str]) -> Collection[str]:
        """Those of the keys whose rows another transaction holds now."""

    async def close(self) -> None:
        """Give up what is kept between calls."""


class _Place(NamedTuple):
    """Where items wait that may go together."""

    function: Function[Any, Any]
    store_id: str


class _Waiting(NamedTuple):
    place: _Place
    keys: Sequence[str]
    items: Sequence[Any]
    answers: "asyncio.Future[list[Any]]"
    since: float

    def refuse(self, error: Exception) -> None:
        if not self.answers.done():
            self.answers.set_exception(error)


class _Lane:
    """Who waits for the next call, by place, and the task that makes one call after another."""

    def __init__(self, room: asyncio.Semaphore, *, is_patient: bool) -> None:
        self.queues: dict[_Place, deque[_Waiting]] = {}
        self.items = 0
        self.room = room
        self.is_patient = is_patient
        self.calls: asyncio.Task[None] | None = None

    def take(self) -> list[_Waiting]:
        """The next batch, in arrival order, without callers who gave up. Places take turns."""
        batch: list[_Waiting] = []
        size, oldest = 0, time.monotonic() - PATIENCE_SECONDS
        place = next(iter(self.queues), None)
        queue = self.queues.pop(place) if place else deque()
        while queue and size < MAX_BATCH:
            waiting = queue.popleft()
            self.items -= len(waiting.items)
            if waiting.since < oldest:
                waiting.refuse(Refusal("overloaded"))
            elif not waiting.answers.done():
                batch.append(waiting)
                size += len(waiting.items)
        if place and queue:
            self.queues[place] = queue
        return batch

    def take_all(self) -> list[_Waiting]:
        """All who wait."""
        queues, self.queues, self.items = self.queues, {}, 0
        return [waiting for queue in queues.values() for waiting in queue]


class Coalescer:
    """Sends what several callers submit in one call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._lane = _Lane(asyncio.Semaphore(1), is_patient=False)
        self._aside: dict[tuple[str, str], _Lane] = {}
        self._room_aside = asyncio.Semaphore(MAX_ASIDE)
        self.on_batch: Callable[[int], None] = lambda size: None
        """Told of how many items each call was."""

    @property
    def waiting(self) -> int:
        """How many items wait for a call, or for the rows they want."""
        return sum(lane.items for lane in (self._lane, *self._aside.values()))

    async def submit(
        self,
        function: Function[Item, Answer],
        store_id: str,
        keys: Sequence[str],
        items: Sequence[Item],
    ) -> list[Answer]:
        """The answers to items that want the rows `keys`, all from one call. Raises Refusal."""
        if in_transaction():
            raise RuntimeError("what is sent from here commits apart from its caller's transaction")
        answers: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        place = _Place(function, store_id)
        waiting = _Waiting(place, keys, items, answers, time.monotonic())
        if self._lane_of(waiting).items >= MAX_WAITING:
            raise Refusal("overloaded")
        self._enqueue([waiting])
        return await answers

    async def close(self) -> None:
        """Wait for the calls under way and all that waits behind them."""
        while calls := [lane.calls for lane in (self._lane, *self._aside.values()) if lane.calls]:
            await asyncio.gather(*calls)
        await self._calls.close()

    def _lane_of(self, waiting: _Waiting) -> _Lane:
        """The lane of the first key that is aside; mostly none is."""
        for key in waiting.keys if self._aside else ():
            if lane := self._aside.get((waiting.place.store_id, key)):
                return lane
        return self._lane

    def _enqueue(self, everyone: Sequence[_Waiting]) -> None:
        for waiting in everyone:
            lane = self._lane_of(waiting)
            lane.queues.setdefault(waiting.place, deque()).append(waiting)
            lane.items += len(waiting.items)
            if lane.calls is None:
                # In no context: a lane works for many requests, and belongs to none of them.
                lane.calls = asyncio.create_task(self._drain(lane), context=Context())

    async def _drain(self, lane: _Lane) -> None:
        """Send batch after batch, until nothing waits."""
        try:
            while lane.queues:
                async with lane.room:
                    if batch := lane.take():
                        await self._send(lane, batch)
        finally:
            lane.calls = None

    async def _send(self, lane: _Lane, batch: Sequence[_Waiting]) -> None:
        """Send a batch and hand out its answers; where it failed as a whole, find the guilty."""
        items = [item for each in batch for item in each.items]
        self.on_batch(len(items))
        begin_patience(time.monotonic() - batch[0].since)
        try:
            answers = await self._calls.send(*batch[0].place, items, is_patient=lane.is_patient)
            if len(answers) != len(items):
                raise RuntimeError(f"{len(answers)} answers to {len(items)} requests")
        except Exception as error:
            await self._fail(lane, batch, error)
            return
        rest = iter(answers)
        for waiting in batch:
            own = list(islice(rest, len(waiting.items)))
            if not waiting.answers.done():
                waiting.answers.set_result(own)
        if lane.is_patient:  # whoever still waits for these keys joins the others
            for held in {(each.place.store_id, key) for each in batch for key in each.keys}:
                if freed := self._aside.pop(held, None):
                    self._enqueue(freed.take_all())

    async def _fail(self, lane: _Lane, batch: Sequence[_Waiting], error: Exception) -> None:
        """Refuse who must be, and send the others again: aside, or one by one."""
        code = error.code if isinstance(error, Refusal) else "internal_error"
        oldest = time.monotonic() - PATIENCE_SECONDS
        is_last_try = lane.is_patient and (code in HELD_UP or len(batch) == 1)
        for waiting in batch:
            if code in NOBODYS_FAULT or is_last_try or waiting.since < oldest:
                waiting.refuse(error)
            elif lane.is_patient:
                await self._send(lane, [waiting])
        if lane.is_patient or code in NOBODYS_FAULT:
            return
        store_id, keys = batch[0].place.store_id, {key for each in batch for key in each.keys}
        if code in HELD_UP:
            with suppress(Exception):  # then all of them may be guilty
                keys = set(await self._calls.held(store_id, keys)) or keys
        for key in keys:
            self._aside.setdefault((store_id, key), _Lane(self._room_aside, is_patient=True))
        self._enqueue([*batch, *lane.take_all()])
