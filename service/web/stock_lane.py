"""The lane of what changes stock: requests that change the same rows go together.

A process has one lane, whatever its calls do: calls of its own never wait for each other's rows.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from sqlalchemy import Row, text

from service.database.coalesce import MAX_ASIDE, Coalescer, Function
from service.database.pool import Database, Kept
from service.web.context import DATABASE, STORE_ID
from service.web.metrics import METRICS, SIZES

HELD_PRODUCTS = text("SELECT * FROM held_products(:store_id, CAST(:product_ids AS text[]))")
IMPATIENCE = "100ms"
"""How long the lane waits for a lock of somebody else's."""

STOCK_LANE = web.AppKey("STOCK_LANE", Coalescer)

Item = TypeVar("Item")


class Answer(NamedTuple):
    """What a function answers to one of many."""

    result_code: str
    document: str | None
    """What was granted, or the facts of a refusal, as JSON."""


def answers_of(row: Row[Any]) -> list[Answer]:
    """The answers of a function that returns one code and one document for each of many."""
    return list(map(Answer, row.result_codes, row.documents))


def set_up(app: web.Application) -> None:
    """Give the application its lane, which finishes what waits before the database closes."""
    lane = app[STOCK_LANE] = Coalescer(_Calls(app[DATABASE]))
    sizes = app[METRICS].histogram(
        "holdfast_batch_size", "Requests that went to the database as one call.", (), SIZES
    )
    lane.on_batch = lambda size: sizes.observe((), size)
    app[METRICS].gauge(
        "holdfast_batch_waiting",
        "Requests that wait for their call.",
        (),
        lambda: {(): lane.waiting},
    )
    app.on_cleanup.append(_finish)


async def _finish(app: web.Application) -> None:
    await app[STOCK_LANE].close()


async def call_together(
    request: web.Request,
    function: Function[Item, Answer],
    product_ids: Sequence[str],
    items: Sequence[Item],
) -> Sequence[Answer]:
    """The answers to items that change the stock of products: from one call, with those that wait.

    What shares a transaction with its Idempotency-Key goes alone. Raises Refusal.
    """
    database, store_id = request.app[DATABASE], request[STORE_ID]
    if database.is_in_transaction:
        return await function(database, store_id, items)
    return await request.app[STOCK_LANE].submit(function, store_id, product_ids, items)


class _Calls:
    """How the lane calls the database: on a connection of its own, or aside, with patience."""

    def __init__(self, database: Database) -> None:
        self._kept = Kept(database.share(1, lock_timeout=IMPATIENCE))
        self._aside = database.share(MAX_ASIDE)

    async def send(
        self, function: Function[Any, Any], store_id: str, items: Sequence[Any], *, is_patient: bool
    ) -> Sequence[Any]:
        """In one transaction, on the connection kept or, with patience, beside it."""
        return await function(self._aside if is_patient else self._kept, store_id, items)

    async def held(self, store_id: str, keys: Collection[str]) -> Collection[str]:
        """The products whose stock another transaction holds now."""
        row = await self._kept.call(HELD_PRODUCTS, store_id=store_id, product_ids=list(keys))
        return list(msgspec.json.decode(row.document))

    async def close(self) -> None:
        """Close the kept connection."""
        await self._kept.close()
