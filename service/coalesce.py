"""The coalescer: many waiting callers, one transaction.

Two facts decide how fast stock can be reserved. A transaction costs about the same whether it
reserves one thing or fifty; and callers of one product queue for its row whatever we do. So let
them queue here, where waiting is free, and go together.

A *lane* makes one call at a time. While its call is under way, new requests gather in its queue;
when the call returns, all that wait for one store go as the next call. There is no timer: an idle
lane sends a request at once, and a batch is never larger than the traffic makes it. A request's
lane is a hash of its store and product, so two calls of one process seldom want the same row.

What can go wrong, and who hears of it:

* The queue is full: the newcomer gets `overloaded` at once; waiting longer would help nobody.
* A caller gives up while waiting: its request leaves the queue unsent. After sending, the request
  takes effect and nobody listens, as on any lost connection; the id makes a repeat safe.
* A batch fails and was rolled back (deadlock, lock timeout, a twin's unique violation): its
  requests run one by one, so that only a guilty one fails.
* The connection is lost during a call: nobody knows, so all of that call hear `outcome_unknown`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from service.results import Refusal

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LANES = 4
MAX_BATCH = 500
MAX_WAITING = 2000
"""Per lane. At the slowest rate ever measured this is under a second of work."""

SPLITTABLE = {"conflict", "database_busy"}


class _Waiting(NamedTuple):
    store_id: str
    item: object
    answer: "asyncio.Future[object]"


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
        self._queues: list[deque[_Waiting]] = [deque() for _ in range(lanes)]
        self._calls: list[asyncio.Task[None] | None] = [None] * lanes

    async def submit(self, store_id: str, key: str, item: Item) -> Answer:
        """The answer to one item. Items of one store and key keep their order. Raises Refusal."""
        lane = hash((store_id, key)) % len(self._queues)
        queue = self._queues[lane]
        if len(queue) >= self._max_waiting:
            raise Refusal("overloaded")
        waiting = _Waiting(store_id, item, asyncio.get_running_loop().create_future())
        queue.append(waiting)
        if self._calls[lane] is None:
            self._calls[lane] = asyncio.create_task(self._drain(lane))
        return await waiting.answer  # type: ignore[return-value]

    async def close(self) -> None:
        """Wait for the calls under way and all that waits behind them."""
        await asyncio.gather(*(call for call in self._calls if call))

    async def _drain(self, lane: int) -> None:
        """Send what waits in a lane, batch after batch, until nothing waits."""
        queue = self._queues[lane]
        try:
            while batch := self._take(queue):
                await self._answer(batch)
        finally:
            self._calls[lane] = None

    def _take(self, queue: deque[_Waiting]) -> list[_Waiting]:
        """The next batch: of one store, in arrival order, without callers who gave up."""
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        while queue and len(batch) < self._max_batch:
            waiting = queue.popleft()
            if waiting.answer.done():
                continue
            same_store = not batch or waiting.store_id == batch[0].store_id
            (batch if same_store else others).append(waiting)
        queue.extendleft(reversed(others))
        return batch

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Send a batch and hand out its answers, one by one where it failed as a whole."""
        try:
            answers = await self._send(batch[0].store_id, [waiting.item for waiting in batch])  # type: ignore[misc]
        except Exception as error:
            is_splittable = isinstance(error, Refusal) and error.code in SPLITTABLE
            if is_splittable and len(batch) > 1:
                for waiting in batch:
                    await self._answer([waiting])
                return
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(answer)
