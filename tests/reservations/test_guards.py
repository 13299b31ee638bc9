"""What a DBA's hand may do to reservations, what it may not, and what puts mistakes right."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Api, Connect, Stocked
from tests.support.builders import URL, hold, lapse, reserve, stock
from tests.support.orders import own_holds

RESOLVED = "UPDATE reservations SET {} WHERE reservation_id = '{}'"


async def one_of_each(sql: Any) -> None:
    """A committed, a released and an expired reservation, each named so, of 2 units."""
    await reserve(sql, ("committed", [("tea", 2)]), ("released", [("tea", 2)]))
    await reserve(sql, ("expired", [("tea", 2)]), ttl=timedelta(microseconds=1))
    await sql.execute("SELECT commit_reservation('main', 'committed', 'key:1')")
    await sql.execute("SELECT release_reservation('main', 'released', 'key:2')")
    await sql.execute("SELECT expire_reservations('main')")


@pytest.mark.parametrize("status", ["committed", "released", "expired"])
@pytest.mark.parametrize(
    "change",
    [
        "status = 'held', closed_at = NULL",
        "status = 'released', price = NULL",
        "price = 1",
        "expires_at = now()",
        "closed_at = now()",
        "closed_by = 'me'",
        "quantity = 1",
        "requested_at = now()",
    ],
)
async def test_what_is_resolved_is_not_changed_by_hand(
    sql: Any, stocked: Stocked, status: str, change: str
) -> None:
    await stocked({"tea": 9})
    await one_of_each(sql)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=f"it is {status}"):
        await sql.execute(RESOLVED.format(change, status))
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
        await sql.execute("DELETE FROM reservations WHERE reservation_id = $1", status)


async def test_what_has_expired_is_not_taken_up_by_hand_before_it_is_swept(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"tea": 9})
    await reserve(sql, ("1", [("tea", 2)]), ttl=timedelta(microseconds=1))
    await sql.execute("SELECT lock_stock('main', ARRAY['tea'])")
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="it is expired"):
        await sql.execute("UPDATE reservations SET status = 'held', closed_at = NULL")


async def test_a_change_by_hand_is_audited_a_verb_is_not(
    api: Api, sql: Any, stocked: Stocked
) -> None:
    await stocked({"tea": 9})
    for cart in ("cart-1", "cart-2"):
        await api.post(URL, json=hold(reservation_id=cart, ttl_seconds=600))
    await api.post(f"{URL}/cart-1/extend", json={"ttl_seconds": 700})
    await api.post(f"{URL}/cart-1/commit")
    await lapse(sql, "cart-2")
    await sql.execute("SELECT expire_reservations('main')")
    audited = (
        "SELECT subject, action, actor, details FROM audit_log"
        " WHERE subject LIKE 'reservations/%' ORDER BY entry_id"
    )
    (row,) = await sql.fetch(audited)
    assert (row["subject"], row["action"]) == ("reservations/cart-2", "update")
    assert json.loads(row["details"]).keys() == {"expires_at"}

    await sql.execute(
        "SET holdfast.actor = 'maria'; INSERT INTO reservations (store_id, reservation_id, line,"
        " kind, product_id, quantity, status, closed_at)"
        " VALUES ('main', 'x', 1, 'hold', 'tea', 1, 'released', now())"
    )
    row = (await sql.fetch(audited))[-1]
    assert (row["subject"], row["action"], row["actor"]) == ("reservations/x", "insert", "maria")
    assert json.loads(row["details"])["quantity"] == {"to": 1}
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="no stock of product none"):
        await sql.execute(
            "INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity)"
            " VALUES ('main', 'y', 1, 'hold', 'none', 1)"
        )


async def test_who_made_extended_and_closed_it_is_written_down(
    sql: Any, stocked: Stocked, connect_as: Connect
) -> None:
    await stocked({"tea": 9})
    await sql.execute("UPDATE products SET price = 150")
    service = await connect_as("service")
    await service.execute(
        "SELECT reserve_stock('main', '1', 'tea', 2, NULL, '1 h', 'key:1');"
        "SELECT reserve_stock('main', '2', 'tea', 1);"
        "SELECT extend_reservation('main', '1', '2 h', '1 day', 'key:2');"
        "SELECT commit_reservation('main', '1', 'key:3');"
        "SELECT release_reservation('main', '2', 'key:4')"
    )
    await sql.execute("UPDATE products SET price = 1")
    login = await sql.fetchval("SELECT session_user::text")
    rows = await sql.fetch(
        "SELECT made_by, extended_by, closed_by, price FROM reservations ORDER BY reservation_id"
    )
    assert [tuple(row) for row in rows] == [
        ("key:1", "key:2", "key:3", 150),
        (login, None, "key:4", None),
    ]
    query = "SELECT actor FROM stock_movements WHERE reason = 'commit'"
    assert await sql.fetchval(query) == "key:3"
    amount = "SELECT amount FROM reservation_summaries WHERE reservation_id = '1'"
    assert await sql.fetchval(amount) == 300


async def test_callers_are_who_made_and_closed_it(api: Api, sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 9})
    await api.post(URL, json=hold(ttl_seconds=60))
    for verb, body in (("extend", {"ttl_seconds": 600}), ("commit", None)):
        assert (await api.post(f"{URL}/cart-1/{verb}", json=body)).status == 200
    row = await sql.fetchrow("SELECT made_by, extended_by, closed_by FROM reservations")
    assert tuple(row) == ("anonymous",) * 3


CORRECT = "SELECT * FROM correct_reservation('main', $1, $2, $3)"


@pytest.mark.parametrize("to", ["held", "committed", "released"])
@pytest.mark.parametrize("status", ["held", "committed", "released", "expired"])
async def test_any_end_can_be_corrected_with_its_stock_and_ledger(
    sql: Any, stocked: Stocked, status: str, to: str
) -> None:
    await stocked({"tea": 9})
    await one_of_each(sql)
    await reserve(sql, ("held", [("tea", 2)]))
    before = (await stock(sql))["tea"]
    row = await sql.fetchrow(CORRECT, status, to, "maria")
    assert (row["result_code"], json.loads(row["document"])["status"]) == ("ok", to)
    # What each status takes, from what is on hand and into what is reserved.
    takes = {"held": (0, 2), "committed": (-2, 0), "released": (0, 0), "expired": (0, 0)}
    expected = tuple(
        level - old + new for level, old, new in zip(before, takes[status], takes[to], strict=True)
    )
    assert (await stock(sql))["tea"] == expected
    assert await sql.fetch("SELECT * FROM invariant_violations") == []
    audited = "SELECT actor FROM audit_log WHERE subject = $1"
    rows = await sql.fetch(audited, f"reservations/{status}")
    assert [row["actor"] for row in rows] == ["maria"] * (status != to)
    row = await sql.fetchrow("SELECT * FROM reservations WHERE reservation_id = $1", status)
    assert (row["closed_by"] is None) == (to == "held")


async def test_a_correction_takes_no_more_than_there_is(sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 4})
    await reserve(sql, ("1", [("tea", 3)]))
    await sql.execute("SELECT release_reservation('main', '1')")
    await reserve(sql, ("2", [("tea", 2)]))
    row = await sql.fetchrow(CORRECT, "1", "committed", "maria")
    assert row["result_code"] == "insufficient_stock"
    assert json.loads(row["document"])["available"] == 2


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("none", "released", "maria"), "unknown_reservation"),
        (("1", "released", ""), "invalid_request"),
        (("1", "released", None), "invalid_request"),
        (("1", "expired", "maria"), "invalid_request"),
        (("order:1", "released", "maria"), "held_by_order"),
    ],
)
async def test_a_correction_says_who_and_what(
    sql: Any, stocked: Stocked, arguments: tuple[Any, ...], code: str
) -> None:
    await stocked({"tea": 4})
    await reserve(sql, ("1", [("tea", 1)]))
    await sql.execute(
        "SELECT hold_lines('main', 'order:1', 'order', ARRAY['tea'], ARRAY[1], NULL, NULL, 'me')"
    )
    assert (await sql.fetchrow(CORRECT, *arguments))["result_code"] == code
    await own_holds(sql)


async def test_a_sum_changed_by_hand_is_recounted_and_audited(sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 9, "cup": 1})
    await reserve(sql, ("1", [("tea", 3)]))
    await sql.execute("UPDATE stock SET reserved = 7 WHERE product_id = 'tea'")
    rows = await sql.fetch("SELECT invariant, subject FROM invariant_violations")
    assert [tuple(row) for row in rows] == [("reserved_equals_open_holds", "tea")]
    recount = "SELECT result_code FROM recount_reserved('main', $1, $2)"
    assert await sql.fetchval(recount, "tea", "") == "invalid_request"
    assert await sql.fetchval(recount, "none", "maria") == "unknown_product"
    for _ in range(2):
        assert await sql.fetchval(recount, "tea", "maria") == "ok"
    assert await stock(sql) == {"tea": (9, 3), "cup": (1, 0)}
    rows = await sql.fetch("SELECT actor, details FROM audit_log WHERE subject = 'stock/tea'")
    assert [(row["actor"], json.loads(row["details"])) for row in rows] == [
        ("maria", {"reserved": {"from": 7, "to": 3}})
    ]


async def test_more_than_is_on_hand_cannot_be_recounted(sql: Any, stocked: Stocked) -> None:
    await stocked({"tea": 9})
    await reserve(sql, ("1", [("tea", 3)]))
    await sql.execute("UPDATE stock SET reserved = 0, on_hand = 2")
    recount = "SELECT result_code FROM recount_reserved('main', 'tea', 'maria')"
    assert await sql.fetchval(recount) == "insufficient_stock"
    await sql.execute("UPDATE stock SET on_hand = 9")
    assert await sql.fetchval(recount) == "ok"
