"""The coalescer: many waiting callers, one transaction.

Two facts decide how fast stock can be reserved. A transaction costs about the same whether it
reserves one thing or fifty; and callers of one product queue for its row whatever we do. So let
them queue here, where waiting is free, and go together.

A *lane* makes one call at a time. While its call is under way, new requests gather in its queue;
when the call returns, all that wait for one store go as the next call. There is no timer: an idle
lane sends a request at once, and a batch is never larger than the traffic makes it. A request's
lane is a hash of its store and product, so two calls of one process seldom want the same row.

What can go wrong, and who hears of it:

* The queue is full: the newcomer gets `overloaded` at once; waiting longer would help nobody. So
  does whoever has waited for PATIENCE_SECONDS and is still not sent.
* A caller gives up while waiting: its request leaves the queue unsent. After sending, the request
  takes effect and nobody listens, as on any lost connection; the id makes a repeat safe.
* Another session holds a product's row for too long (`database_busy`): each key of the batch goes
  aside, into a lane of its own, until a call for it succeeds. So only callers of the locked product
  are refused, and those who share its lane wait for it once, not at every call.
* A batch fails otherwise and was rolled back (a twin's unique violation, or a defect that one
  request brings to light): its requests run one by one, so that only a guilty one fails.
* The connection is lost during a call: nobody knows, so all of that call hear `outcome_unknown`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, NamedTuple, TypeVar

from service.results import Refusal

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LANES = 2
MAX_BATCH = 500
MAX_WAITING = 2000
"""Per lane. At the slowest rate ever measured this is under a second of work."""
MAX_ASIDE = 4
"""Calls for keys aside that run at once."""
PATIENCE_SECONDS = 5.0

Place = tuple[str, str]
"""A store and a key in it: what items have in common that want the same row."""


class _Waiting(NamedTuple):
    place: Place
    item: Any
    answer: "asyncio.Future[Any]"
    since: float


class _Lane:
    """Who waits for the next call, and the task that makes one call after another."""

    def __init__(self, room: asyncio.Semaphore) -> None:
        self.queue: deque[_Waiting] = deque()
        self.room = room
        self.calls: asyncio.Task[None] | None = None


class Coalescer(Generic[Item, Answer]):
    """Send items in batches: `send(store_id, items)` returns one answer per item, in order."""

    def __init__(
        self,
        send: Callable[[str, Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        lanes: int = LANES,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._send = send
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._lanes = [_Lane(asyncio.Semaphore(1)) for _ in range(lanes)]
        self._aside: dict[Place, _Lane] = {}
        self._room_aside = asyncio.Semaphore(MAX_ASIDE)

    async def submit(self, store_id: str, key: str, item: Item) -> Answer:
        """The answer to one item. Items of one store and key keep their order. Raises Refusal."""
        place = (store_id, key)
        lane = self._lane_of(place)
        if len(lane.queue) >= self._max_waiting:
            raise Refusal("overloaded")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._enqueue(lane, _Waiting(place, item, answer, time.monotonic()))
        return await answer

    async def close(self) -> None:
        """Wait for the calls under way and all that waits behind them."""
        while calls := [lane.calls for lane in (*self._lanes, *self._aside.values()) if lane.calls]:
            await asyncio.gather(*calls)

    def _lane_of(self, place: Place) -> _Lane:
        return self._aside.get(place) or self._lanes[hash(place) % len(self._lanes)]

    def _enqueue(self, lane: _Lane, waiting: _Waiting) -> None:
        lane.queue.append(waiting)
        if lane.calls is None:
            # In no context: a lane works for many requests, and belongs to none of them.
            lane.calls = asyncio.create_task(self._drain(lane), context=Context())

    async def _drain(self, lane: _Lane) -> None:
        """Send what waits in a lane, batch after batch, until nothing waits."""
        try:
            while lane.queue:
                async with lane.room:
                    if batch := self._take(lane.queue):
                        await self._answer(batch)
        finally:
            lane.calls = None

    def _take(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """The next batch: of one store, in arrival order, without callers who gave up."""
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        oldest = time.monotonic() - PATIENCE_SECONDS
        while queue and len(batch) < self._max_batch:
            waiting = queue.popleft()
            if waiting.answer.done():
                continue
            if waiting.since < oldest:
                waiting.answer.set_exception(Refusal("overloaded"))
                continue
            same_store = not batch or waiting.place[0] == batch[0].place[0]
            (batch if same_store else others).append(waiting)
        queue.extendleft(reversed(others))
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Send a batch and hand out its answers; where it failed as a whole, find the guilty."""
        try:
            answers = await self._send(batch[0].place[0], [waiting.item for waiting in batch])
            if len(answers) != len(batch):
                raise RuntimeError(f"{len(answers)} answers to {len(batch)} requests")
        except Exception as error:
            code = error.code if isinstance(error, Refusal) else "internal_error"
            if code == "database_busy" and batch[0].place not in self._aside:
                self._set_aside(batch, error)
            elif code in ("conflict", "internal_error") and len(batch) > 1:
                for waiting in batch:
                    await self._answer([waiting])
            else:
                _refuse(batch, error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
        self._take_back(batch[0].place)

    def _set_aside(self, batch: list[_Waiting], error: Exception) -> None:
        """Give each key of a batch a lane of its own, where those who wait for it go on waiting."""
        lane = self._lane_of(batch[0].place)
        places = {waiting.place for waiting in batch}
        for place in places:
            self._aside[place] = _Lane(self._room_aside)
        queued = list(lane.queue)
        lane.queue.clear()
        if len(places) > 1:
            queued = batch + queued
        else:
            _refuse(batch, error)
        for waiting in queued:
            self._enqueue(self._lane_of(waiting.place), waiting)

    def _take_back(self, place: Place) -> None:
        """A call for a key aside succeeded: whoever still waits for it joins the others."""
        if lane := self._aside.pop(place, None):
            for waiting in lane.queue:
                self._enqueue(self._lane_of(place), waiting)
            lane.queue.clear()


def _refuse(batch: list[_Waiting], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
