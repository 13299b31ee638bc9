"""Thousands of random batches: each is answered as its requests would be one after another."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from tests.support.aliases import Stocked
from tests.support.builders import Line, stock
from tests.support.model import Model

PRODUCTS = ["a", "B", "ä", "z"]
LONGEST = timedelta(days=1)
LAPSED = timedelta(microseconds=1)
TOO_LONG = timedelta(days=2)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
BATCHES = 1000
BATCH = (
    "SELECT * FROM reserve_stock_batch($1, $2::text[], $3::text[], $4::timestamptz[],"
    " $5::interval[], $6, $7::int[], $8::text[], $9::bigint[])"
)


class Request(NamedTuple):
    """One request of a batch."""

    reservation_id: str
    lines: list[Line]
    ttl: timedelta | None
    is_callback: bool


class Expected(NamedTuple):
    """What the model says: a code and, of a refusal, the lines in the way."""

    code: str
    short: list[dict[str, Any]]


def some_batch(chance: random.Random) -> list[Request]:
    """Small and large ones, of one kind or of all, of new ids or of few."""
    ids = chance.choice([6, 40, 10**9])
    is_mixed, has_baskets = chance.random() < 0.5, chance.random() < 0.4
    ttls = [None, None, timedelta(hours=1), LAPSED] + [TOO_LONG] * (chance.random() < 0.1)
    odd = chance.random() < 0.2
    batch = []
    for _ in range(chance.choice([1, 2, 5, 12])):
        largest = chance.choice([1, 3, 9])
        lines: list[Line] = [
            (
                chance.choice([*PRODUCTS, *PRODUCTS, "nope"] if odd else PRODUCTS),
                chance.choice([0, 1, 2**31]) if odd and chance.random() < 0.2
                else chance.randint(1, largest),
            )
            for _ in range(chance.choice([1, 2, 4]) if has_baskets else 1)
        ]  # fmt: skip
        is_callback = is_mixed and chance.random() < 0.5
        ttl = None if is_callback else chance.choice(ttls)
        batch.append(Request(f"r{chance.randrange(ids)}", lines, ttl, is_callback))
        if chance.random() < 0.15:
            batch.append(chance.choice(batch))
    return batch


def judge(model: Model, request: Request) -> Expected:
    """The model's answer to one request, and the lines that are in the way."""
    if not all(1 <= (quantity or 0) < 2**31 for _, quantity in request.lines):
        return Expected("invalid_request", [])
    lines = [(product, int(quantity or 0)) for product, quantity in request.lines]
    units = {product: sum(q for p, q in lines if p == product) for product, _ in lines}
    if request.ttl == TOO_LONG and request.reservation_id not in model.reservations:
        return Expected("lifetime_too_long", [])
    short = [
        {"product_id": product, "quantity": quantity, "available": available}
        for product, quantity, available in sorted(
            model.short(units), key=lambda each: each[0].encode()
        )
    ]
    kind = "callback" if request.is_callback else "hold"
    code = model.reserve(request.reservation_id, lines, lapses=request.ttl is not None, kind=kind)
    known = model.reservations.get(request.reservation_id)
    if known and code == "ok":
        known.ttl = request.ttl
    elif known and code != "reservation_id_reused" and known.ttl != request.ttl:
        code = "reservation_id_reused"
    return Expected(code, short if code == "insufficient_stock" else [])


async def send(sql: Any, store_id: str, batch: list[Request]) -> Any:
    """What the function answers: codes and documents."""
    lines = [(number, *line) for number, each in enumerate(batch, 1) for line in each.lines]
    return await sql.fetchrow(
        BATCH,
        store_id,
        [each.reservation_id for each in batch],
        ["tests"] * len(batch),
        [NOW if each.is_callback else None for each in batch],
        [each.ttl for each in batch],
        LONGEST,
        None if len(lines) == len(batch) else [number for number, _, _ in lines],
        [product for _, product, _ in lines],
        [quantity for _, _, quantity in lines],
    )


@pytest.mark.parametrize("seed", range(5))
async def test_every_batch_equals_its_requests_one_after_another(
    sql: Any, stocked: Stocked, seed: int
) -> None:
    chance = random.Random(seed)
    for example in range(10):
        store_id = f"s{example}"
        model = Model({product: chance.randint(0, 30) for product in PRODUCTS})
        await stocked(model.on_hand, store_id)
        for _ in range(BATCHES // 10):
            batch = some_batch(chance)
            if chance.random() < 0.05:
                row = await send(sql, "nowhere", batch)
                assert set(row["result_codes"]) <= {
                    *("unknown_store", "invalid_request", "lifetime_too_long")
                }
                continue
            expected = [judge(model, request) for request in batch]
            row = await send(sql, store_id, batch)
            assert list(row["result_codes"]) == [each.code for each in expected], batch
            for request, each, text in zip(batch, expected, row["documents"], strict=True):
                check_document(request, each, json.loads(text) if text else None)
            for request, each in zip(batch, expected, strict=True):
                if each.code == "ok" and request.ttl == LAPSED:
                    model.lapse(request.reservation_id)
            if chance.random() < 0.2:
                await restock(sql, store_id, model, chance)
        assert await stock(sql, store_id) == model.levels()
        broken = "SELECT * FROM invariant_violations WHERE store_id = $1"
        assert await sql.fetch(broken, store_id) == []


def check_document(request: Request, expected: Expected, document: Any) -> None:
    """A granted hold is told whole; a refusal tells what is in its way; a callback no more."""
    if expected.code in ("ok", "already_reserved"):
        if request.is_callback:
            assert document is None
        else:
            assert document["reservation_id"] == request.reservation_id
            units = {line["product_id"]: line["quantity"] for line in document["lines"]}
            assert units.keys() == {product for product, _ in request.lines}
    elif expected.code == "insufficient_stock":
        lines = {} if request.is_callback else {"lines": expected.short}
        assert document == expected.short[0] | lines
    elif expected.code == "lifetime_too_long":
        assert document == {"longest_seconds": 86400}


async def restock(sql: Any, store_id: str, model: Model, chance: random.Random) -> None:
    """Some units come in, and some reservation is resolved."""
    product = chance.choice(PRODUCTS)
    model.on_hand[product] += chance.randint(0, 12)
    await sql.execute(
        "UPDATE stock SET on_hand = $3 WHERE store_id = $1 AND product_id = $2",
        *(store_id, product, model.on_hand[product]),
    )
    if held := [name for name, each in model.reservations.items() if each.status == "held"]:
        name, verb = chance.choice(held), chance.choice(["commit", "release"])
        model.resolve(name, verb)
        call = f"SELECT result_code FROM {verb}_reservation($1, $2)"
        assert await sql.fetchval(call, store_id, name) == "ok"
