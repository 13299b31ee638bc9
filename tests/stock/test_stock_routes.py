"""Supply and demand, group operations, clean, names, the past: over HTTP, as callers see them."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import pytest

from service.domains import stock
from service.results import Refusal
from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import callback
from tests.support.waits import certain, until_waiting

MAIN = "/api/v1/stores/main"


async def post(api: Api, path: str, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    response = await api.post(path, json=body, headers=headers)
    return response.status, await response.json()


async def report(api: Api, query: str = "", store: str = "main") -> dict[str, tuple[int, int, int]]:
    """item -> (quantity, reserved, available)."""
    response = await api.get(f"/api/v1/stores/{store}{query}")
    assert response.status == 200
    body = (await response.json())["store"]
    assert body["store_id"] == store
    return {
        row["item_id"]: (row["quantity"], row["reserved"], row["available"])
        for row in body["report"]
    }


async def operate(api: Api, operation: str, item: str, quantity: int) -> tuple[int, dict[str, Any]]:
    return await post(api, MAIN, {"operation": operation, "item_id": item, "quantity": quantity})


async def test_the_first_supply_creates_an_item_and_reports_it(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 1})
    status, body = await operate(api, "supply", "new", 5)
    row = {"item_id": "new", "quantity": 5, "reserved": 0, "available": 5}
    assert (status, body) == (200, {"store": {"store_id": "main", "report": [row]}})
    assert await report(api) == {"a": (1, 0, 1), "new": (5, 0, 5)}


async def test_demand_takes_out_what_is_available_and_shows_zero(
    api: Api, stocked: Stocked
) -> None:
    await stocked({"a": 5})
    status, body = await operate(api, "demand", "a", 5)
    assert status == 200
    assert body["store"]["report"] == [
        {"item_id": "a", "quantity": 0, "reserved": 0, "available": 0}
    ]
    assert await report(api) == {}, "items at zero are left out"


async def test_demand_beyond_what_is_available_is_refused(api: Api, stocked: Stocked) -> None:
    await stocked({"7": 5})
    assert (await post(api, "/api/v1/reserve", callback(quantity=3)))[0] == 200
    status, body = await operate(api, "demand", "7", 3)
    assert status == 409
    item = {"item_id": "7", "quantity": 3, "available": 2}
    assert body == {
        "status": "error",
        "code": "insufficient_stock",
        "message": "Not enough stock available.",
        "detail": "3 of product 7 requested, 2 available.",
        "store_id": "main",
        **item,
        "items": [item],
    }
    assert await report(api) == {"7": (5, 3, 2)}


async def test_demand_of_an_unknown_item_is_404_and_creates_nothing(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 5})
    status, body = await operate(api, "demand", "nope", 1)
    assert (status, body["code"], body["item_id"]) == (404, "unknown_product", "nope")
    assert await sql.fetchval("SELECT count(*) FROM products") == 1


async def test_what_there_is_none_of_is_named_before_what_there_is_too_little_of(
    api: Api, stocked: Stocked
) -> None:
    await stocked({"a": 5})
    items = [{"item_id": "a", "quantity": 6}, {"item_id": "b", "quantity": 1}]
    status, body = await post(api, MAIN + "/group_op", {"operation": "demand", "items": items})
    assert (status, body["code"], body["item_id"]) == (404, "unknown_product", "b")
    assert body["detail"] == "The store has no product b."
    assert [item["item_id"] for item in body["items"]] == ["b", "a"]


async def test_a_group_is_all_or_nothing_and_sums_repeated_items(
    api: Api, stocked: Stocked
) -> None:
    await stocked({"a": 5, "b": 5})
    items = [{"item_id": "a", "quantity": 3}, {"item_id": "b", "quantity": 1}] * 2
    status, body = await post(api, MAIN + "/group_op", {"operation": "demand", "items": items})
    assert (status, body["code"]) == (409, "insufficient_stock")
    assert body["items"] == [{"item_id": "a", "quantity": 6, "available": 5}]
    assert await report(api) == {"a": (5, 0, 5), "b": (5, 0, 5)}
    status, body = await post(api, MAIN + "/group_op", {"operation": "supply", "items": items})
    assert status == 200
    assert await report(api) == {"a": (11, 0, 11), "b": (7, 0, 7)}


async def test_clean_writes_off_all_that_is_not_reserved(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"7": 5, "b": 9})
    await post(api, "/api/v1/reserve", callback(quantity=2))
    status, body = await post(api, MAIN + "/clean", None)
    assert status == 200
    assert body["store"]["report"] == [
        {"item_id": "7", "quantity": 2, "reserved": 2, "available": 0}
    ]
    written_off = await sql.fetch(
        "SELECT product_id, delta, actor FROM stock_movements WHERE reason = 'write_off' ORDER BY 1"
    )
    assert [tuple(row) for row in written_off] == [("7", -3, "anonymous"), ("b", -9, "anonymous")]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"operation": "supply", "item_id": "a", "quantity": 1}),
        ("/group_op", {"operation": "supply", "items": [{"item_id": "a", "quantity": 1}]}),
        ("/clean", None),
    ],
)
async def test_an_unknown_store_is_404_and_not_created(api: Api, path: str, body: Any) -> None:
    status, answer = await post(api, "/api/v1/stores/nowhere" + path, body)
    assert (status, answer["code"]) == (404, "unknown_store")
    for read in ("", "?as_of=2026-01-01T00:00:00Z", "/movements"):
        assert (await api.get("/api/v1/stores/nowhere" + read)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {"operation": "steal", "item_id": "a", "quantity": 1},
        {"operation": "supply", "item_id": "a:b", "quantity": 1},
        {"operation": "supply", "item_id": "a", "quantity": 0},
        {"operation": "supply", "item_id": "a", "quantity": 2**31},
        {"operation": "supply", "item_id": "a", "quantity": 1, "more": 1},
        {"operation": "supply", "quantity": 1},
    ],
)
async def test_a_wrong_operation_is_422_and_writes_nothing(
    api: Api, stocked: Stocked, sql: Any, body: Any
) -> None:
    await stocked({"a": 1})
    assert (await post(api, MAIN, body))[0] == 422
    assert await sql.fetchval("SELECT count(*) FROM stock_movements") == 1


async def test_a_group_has_1_to_1000_items(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 1})
    for count, expected in [(0, 422), (1000, 200), (1001, 422)]:
        items = [{"item_id": f"i{n}", "quantity": 1} for n in range(count)]
        body = {"operation": "supply", "items": items}
        assert (await post(api, MAIN + "/group_op", body))[0] == expected


async def test_a_sum_too_large_for_a_bigint_is_refused(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 2**63 - 2})
    status, body = await operate(api, "supply", "a", 2)
    assert (status, body["code"]) == (422, "out_of_range")
    assert await report(api) == {"a": (2**63 - 2, 0, 2**63 - 2)}


@pytest.mark.parametrize(
    ("operation", "products", "quantities"),
    [
        (None, ["a"], [1]),
        ("supply", None, None),
        ("supply", [], []),
        ("supply", ["a", None], [1, 1]),
        ("supply", ["a"], [None]),
        ("supply", ["a"], [0]),
        ("supply", ["a", "b"], [1]),
        ("supply", ["a"], [2**31]),
        ("supply", ["a"] * 1001, [1] * 1001),
    ],
)
async def test_the_function_refuses_nonsense_itself(
    sql: Any, stocked: Stocked, operation: Any, products: Any, quantities: Any
) -> None:
    await stocked({"a": 1})
    call = "SELECT result_code FROM move_stock('main', $1, $2, $3, NULL, 'me')"
    assert await sql.fetchval(call, operation, products, quantities) == "invalid_request"


@pytest.mark.parametrize("path", ["", "/group_op"])
async def test_who_cannot_know_what_was_done_is_told_that_a_repeat_could_move_twice(
    api: Api, stocked: Stocked, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def lose(*arguments: Any, **parameters: Any) -> None:
        raise Refusal("outcome_unknown")

    await stocked({"a": 1})
    monkeypatch.setattr(stock, "call_together", lose)
    monkeypatch.setattr(stock, "call", lose)
    item = {"item_id": "a", "quantity": 2}
    body = {"operation": "supply"} | ({"items": [item]} if path else item)
    status, answer = await post(api, MAIN + path, body)
    assert (status, answer["detail"]) == (503, stock.MAY_HAVE_MOVED)


async def test_the_ledger_says_for_which_request_and_by_whom(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 1})
    body = {"operation": "supply", "item_id": "a", "quantity": 2}
    await post(api, MAIN, body, **{"X-Request-ID": "delivery-7"})
    row = await sql.fetchrow(
        "SELECT reason, reference, actor, delta FROM stock_movements ORDER BY number DESC LIMIT 1"
    )
    assert tuple(row) == ("supply", "delivery-7", "anonymous", 2)


async def test_the_past_is_reported_as_it_was(api: Api, stocked: Stocked, sql: Any) -> None:
    async def now() -> str:
        at = await sql.fetchval("SELECT rfc3339(clock_timestamp())")
        return f"?as_of={at}"

    before = await now()
    await stocked({"7": 10, "b": 4})
    moments = [(before, {}), (await now(), await report(api))]
    await post(api, "/api/v1/reserve", callback(reservation_id="1", quantity=3))
    await operate(api, "demand", "b", 4)
    moments.append((await now(), await report(api)))
    await post(api, "/api/v1/reservations/1/commit", None)
    await operate(api, "supply", "b", 1)
    moments.append((await now(), await report(api)))
    hold = {"lines": [{"product_id": "7", "quantity": 2}], "ttl_seconds": 1, "reservation_id": "h"}
    await post(api, "/api/v1/reservations", hold)
    moments.append((await now(), await report(api)))
    await post(api, "/api/v1/reservations/h/release", None)
    moments.append((await now(), await report(api)))
    for query, expected in moments:
        assert await report(api, query) == expected
    assert [expected.get("7") for _, expected in moments] == [
        None, (10, 0, 10), (10, 3, 7), (7, 0, 7), (7, 2, 5), (7, 0, 7),
    ]  # fmt: skip


async def test_demand_takes_back_what_a_lapsed_hold_had(
    api: Api, stocked: Stocked, sql: Any
) -> None:
    await stocked({"a": 5})
    await sql.fetch("SELECT * FROM reserve_stock('main', 'h', 'a', 5, NULL, '1 microsecond')")
    assert (await operate(api, "demand", "a", 5))[0] == 200


async def test_50_demands_of_the_last_10_units_10_get_one(api: Api, stocked: Stocked) -> None:
    await stocked({"a": 10})
    demand = {"operation": "demand", "item_id": "a", "quantity": 1}
    answers = await asyncio.gather(
        *(certain(lambda: api.post(MAIN, json=demand)) for _ in range(50))
    )
    assert Counter(status for status, _ in answers) == {200: 10, 409: 40}


async def second_of_two(connect_as: Connect) -> str:
    """The code that a demand gets which comes while another has not committed the last unit."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    demand = "SELECT result_code FROM move_stock('main', 'demand', '{a}', '{1}', NULL, 'me')"
    async with first.transaction():
        assert await first.fetchval(demand) == "ok"
        waiting = asyncio.create_task(second.fetchval(demand))
        await until_waiting(first, second)
    return str(await waiting)


async def test_the_second_demand_of_the_last_unit_waits_and_is_told(
    connect_as: Connect, stocked: Stocked
) -> None:
    await stocked({"a": 1})
    assert await second_of_two(connect_as) == "insufficient_stock"


async def test_without_the_lock_the_second_demand_decides_on_stale_stock(
    connect_as: Connect, stocked: Stocked, sql: Any
) -> None:
    """Shows that the race above is real: then only the CHECK constraint stops it."""
    await stocked({"a": 1})
    unlocked = await sql.fetchval("SELECT pg_get_functiondef('lock_stock'::regproc)")
    assert " FOR UPDATE" in unlocked
    await sql.execute(unlocked.replace(" FOR UPDATE", ""))
    with pytest.raises(asyncpg.CheckViolationError):
        await second_of_two(connect_as)


async def test_many_operations_in_parallel_add_up(
    serve: Callable[..., Awaitable[Api]], stocked: Stocked
) -> None:
    """50 clients, random supply, demand and groups on 10 items: the sum of what was acknowledged.

    `make faults` has 200 clients do 20,000 of them.
    """
    await add_up(await serve(), stocked, clients=50, operations=10)


@pytest.mark.faults
async def test_20000_operations_by_200_clients_add_up(
    serve: Callable[..., Awaitable[Api]], stocked: Stocked
) -> None:
    await add_up(await serve(), stocked, clients=200, operations=100)


async def add_up(api: Api, stocked: Stocked, *, clients: int, operations: int) -> None:
    expected = Counter({f"i{n}": 1000 for n in range(10)})
    await stocked(dict(expected))
    statuses: Counter[int] = Counter()

    async def client(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(operations):
            operation = chance.choice(["supply", "demand"])
            count = chance.choice([1, 1, 2, 5])
            items: list[dict[str, Any]] = [
                {"item_id": f"i{chance.randrange(10)}", "quantity": chance.randint(1, 40)}
                for _ in range(count)
            ]
            body: dict[str, Any] = {"operation": operation, "items": items}
            path = MAIN + "/group_op"
            if count == 1:
                path, body = MAIN, {"operation": operation, **items[0]}
            send = partial(api.post, path, json=body)
            status, _ = await certain(send)
            statuses[status] += 1
            if status == 200:
                for item in items:
                    sign = 1 if operation == "supply" else -1
                    expected[item["item_id"]] += sign * item["quantity"]

    await asyncio.gather(*map(client, range(clients)))
    assert statuses.keys() <= {200, 409}, statuses
    assert statuses[200] > clients * operations / 4
    found = {item: quantity for item, (quantity, _, _) in (await report(api)).items()}
    assert found == {item: quantity for item, quantity in expected.items() if quantity}
