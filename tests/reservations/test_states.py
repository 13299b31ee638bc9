"""What state a reservation is in: every reader says the same, whatever clock it reads by."""

from typing import Any

import pytest

from tests.support.aliases import Api, Stocked
from tests.support.builders import (
    URL,
    Line,
    Request,
    answer,
    callback,
    hold,
    reserve,
    stock,
)

LINES = [{"product_id": "cup", "quantity": 1}, {"product_id": "tea", "quantity": 2}]
STATES = ["held", "committed", "released", "expired"]


async def reclaim_early(sql: Any, product_id: str) -> None:
    """Give a hold's units back as a server does whose clock is a day ahead of ours."""
    await sql.execute("SELECT FROM stock WHERE product_id = $1 FOR UPDATE", product_id)
    await sql.execute(
        "SELECT reclaim_lapsed('main', ARRAY[$1::text], clock_timestamp() + interval '1 day')",
        product_id,
    )


@pytest.mark.parametrize("lines", [LINES, LINES[1:]])
async def test_a_hold_of_which_a_line_was_given_back_has_expired_for_everybody(
    api: Api, stocked: Stocked, sql: Any, lines: list[dict[str, Any]]
) -> None:
    """As after a failover to a machine whose clock is a little late."""
    await stocked({"tea": 5, "cup": 5})
    body = hold(lines=lines, ttl_seconds=600)
    assert (await api.post(URL, json=body)).status == 201
    await reclaim_early(sql, "tea")
    assert await sql.fetch("SELECT * FROM invariant_violations") == []

    status, document = await answer(await api.get(f"{URL}/cart-1"))
    assert (status, document["status"]) == (200, "expired")
    assert document["closed_at"] == document["expires_at"]
    if len(lines) == 1:
        document = (await answer(await api.get("/api/v1/reserve/cart-1")))[1]
        assert document["status"] == "expired"
    for state in STATES:
        page = (await answer(await api.get(f"{URL}?status={state}")))[1]["reservations"]
        assert len(page) == (state == "expired")
    summary = await sql.fetchrow("SELECT status::text, line_count FROM reservation_summaries")
    assert tuple(summary) == ("expired", len(lines))

    # A repeat is judged alone, among others at once, and in order.
    asked: list[Line] = [(line["product_id"], line["quantity"]) for line in lines]
    ttl = await sql.fetchval("SELECT lifetime FROM reservations")
    beside: list[list[Request]] = [
        [],
        [("a", [("tea", 1)])],
        [("b", [("tea", 1), ("cup", 1)])],
    ]
    for others in beside:
        codes = await reserve(sql, ("cart-1", asked), *others, ttl=ttl)
        assert codes == ["reservation_closed", *(["ok"] * len(others))]
    refusal = await api.post(URL, json=body)
    assert (await refusal.json())["code"] == "reservation_closed"
    for verb, content in (("commit", None), ("release", None), ("extend", {"ttl_seconds": 9})):
        status, refused = await answer(await api.post(f"{URL}/cart-1/{verb}", json=content))
        assert (status, refused["code"]) == (409, "reservation_closed")
    # What was not given back still counts, until somebody finds its time over, too.
    still = len(lines) - 1
    assert (await stock(sql))["cup"] == (5, 1 + still)
    await reclaim_early(sql, "cup")
    assert (await stock(sql))["cup"] == (5, 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("/api/v1/reservations", {"ttl_seconds": 600}), ("/api/v1/reserve", {})),
        (("/api/v1/reservations", {}), ("/api/v1/reserve", {})),
        (("/api/v1/reserve", {}), ("/api/v1/reservations", {})),
        (("/api/v1/reserve", {}), ("/api/v1/reservations", {"ttl_seconds": 600})),
        (
            ("/api/v1/reservations", {"ttl_seconds": 600}),
            ("/api/v1/reservations", {"ttl_seconds": 601}),
        ),
        (("/api/v1/reservations", {"ttl_seconds": 600}), ("/api/v1/reservations", {})),
        (("/api/v1/reservations", {}), ("/api/v1/reservations", {"ttl_seconds": 600})),
    ],
)
async def test_an_id_of_another_kind_or_lifetime_is_reused(
    api: Api,
    stocked: Stocked,
    sql: Any,
    first: tuple[str, dict[str, Any]],
    second: tuple[str, dict[str, Any]],
) -> None:
    """A callback is for good: it must not be told that somebody's lapsing hold is its success."""
    await stocked({"7": 9})
    line = {"product_id": "7", "quantity": 3}

    def body(path: str, more: dict[str, Any]) -> dict[str, Any]:
        is_callback = path.endswith("reserve")
        return callback() if is_callback else {"reservation_id": "1001", "lines": [line]} | more

    assert (await api.post(first[0], json=body(*first))).status in (200, 201)
    status, refusal = await answer(await api.post(second[0], json=body(*second)))
    assert (status, refusal["code"]) == (409, "reservation_id_reused")
    # The same where requests are judged in order: beside one that does not fit.
    ttl = second[1].get("ttl_seconds")
    codes = await sql.fetchval(
        "SELECT result_codes FROM reserve_stock_batch('main', ARRAY['1001', 'x', 'y'], NULL,"
        " ARRAY[$1, NULL, NULL]::timestamptz[], ARRAY[make_interval(secs => $2), NULL, NULL],"
        " NULL, NULL, ARRAY['7', '7', '7'], ARRAY[3, 5, 6])",
        None if "reservations" in second[0] else await sql.fetchval("SELECT now()"),
        ttl,
    )
    assert codes == ["reservation_id_reused", "ok", "insufficient_stock"]
    assert (await stock(sql))["7"] == (9, 8)


async def test_the_lifetime_first_asked_for_counts_whatever_was_extended(
    api: Api, stocked: Stocked
) -> None:
    await stocked({"tea": 9})
    await api.post(URL, json=hold(ttl_seconds=600))
    status, body = await answer(await api.post(f"{URL}/cart-1/extend", json={"ttl_seconds": 900}))
    assert (status, body["is_shortened"]) == (200, False)
    status, again = await answer(await api.post(URL, json=hold(ttl_seconds=600)))
    assert (status, again["expires_at"]) == (200, body["expires_at"])
    status, refusal = await answer(await api.post(URL, json=hold(ttl_seconds=900)))
    assert (status, refusal["code"]) == (409, "reservation_id_reused")


async def test_an_extension_says_when_it_is_shorter_than_asked(api: Api, stocked: Stocked) -> None:
    await stocked({"tea": 9})
    made = (await answer(await api.post(URL, json=hold(ttl_seconds=600))))[1]
    status, body = await answer(await api.post(f"{URL}/cart-1/extend", json={"ttl_seconds": 90000}))
    assert (status, body["is_shortened"]) == (200, True)
    assert body["expires_at"][11:] == made["created_at"][11:]


@pytest.mark.parametrize(
    "timestamp",
    ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00.000001Z"],
)
async def test_the_ends_of_time_are_kept_as_they_were_given(
    api: Api, stocked: Stocked, sql: Any, timestamp: str
) -> None:
    """0001-01-01 is what some write where they mean none."""
    await stocked({"7": 9})
    for bodies in (
        [callback(timestamp=timestamp)],
        [callback(reservation_id=str(n), quantity=5, timestamp=timestamp) for n in (2, 3)],
    ):
        status, body = await answer(await api.post("/api/v1/reserve/batch", json=bodies))
        assert (status, body["results"][0]["code"]) == (200, "ok")
        reservation_id = bodies[0]["reservation_id"]
        read = await api.get(f"/api/v1/reserve/{reservation_id}")
        assert (await read.json())["timestamp"] == timestamp
    assert await sql.fetchval("SELECT bool_and(isfinite(requested_at)) FROM reservations")
