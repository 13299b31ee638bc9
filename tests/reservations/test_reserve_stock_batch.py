"""reserve_stock_batch and reserve_stock, as a DBA calls them."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Connect, Stocked
from tests.support.builders import BATCH, Request, reserve, reserved


async def test_a_big_request_that_does_not_fit_leaves_the_small_one_its_units(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5})
    codes = await reserve(sql, ("1", [("a", 4)]), ("2", [("a", 4)]), ("3", [("a", 1)]))
    assert codes == ["ok", "insufficient_stock", "ok"]
    assert await reserved(sql) == {"a": 5}


async def test_lines_of_one_product_are_summed_before_the_check(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    assert await reserve(sql, ("1", [("a", 3), ("a", 3)])) == ["insufficient_stock"]
    assert await reserved(sql) == {"a": 0}
    assert await reserve(sql, ("1", [("a", 3), ("a", 2)])) == ["ok"]
    assert await sql.fetchval("SELECT quantity FROM reservations") == 5


async def test_lines_are_all_or_nothing_and_every_short_one_is_listed(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5, "b": 1, "c": 0})
    rows = await sql.fetch(BATCH, "main", ["1"], None, [1, 1, 1], ["a", "b", "c"], [1, 2, 3])
    assert rows[0]["result_code"] == "insufficient_stock"
    short = [
        {"product_id": "b", "quantity": 2, "available": 1},
        {"product_id": "c", "quantity": 3, "available": 0},
    ]
    assert json.loads(rows[0]["document"]) == short[0] | {"lines": short}
    assert await reserved(sql) == {"a": 0, "b": 0, "c": 0}


async def test_a_repeat_in_the_batch_is_a_replay(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 9, "b": 9})
    codes = await reserve(
        sql,
        ("1", [("a", 2), ("b", 1)]),
        ("1", [("b", 1), ("a", 1), ("a", 1)]),
        ("1", [("a", 2)]),
        ("2", [("a", 99)]),
        ("2", [("a", 1)]),
    )
    assert codes == ["ok", "already_reserved", "reservation_id_reused", "insufficient_stock", "ok"]
    assert await reserved(sql) == {"a": 3, "b": 1}


async def test_codes_take_precedence_in_their_order(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    await reserve(sql, ("known", [("a", 5)]))
    codes = await reserve(
        sql,
        ("known", [("a", 0)]),
        ("known", [("a", 5)]),
        ("known", [("nope", 1)]),
        ("new", [("nope", 1), ("a", 1)]),
        ("new", [("a", 1)]),
    )
    assert codes == [
        "invalid_request",
        "already_reserved",
        "reservation_id_reused",
        "unknown_product",
        "insufficient_stock",
    ]
    assert await reserve(sql, ("1", [("a", 1)]), store_id="nowhere") == ["unknown_store"]


@pytest.mark.parametrize(
    "request_",
    [
        ("1", [("a", None)]),
        ("1", [("a", 0)]),
        ("1", [("a", -1)]),
        ("1", [("a", 2**31)]),
        ("1", [("a", 2**63 - 1)]),
        ("1", [("a", 1), ("a", None)]),
        (None, [("a", 1)]),
        ("1", []),
        ("1", [("a", 1)] * 101),
    ],
)
async def test_the_function_refuses_nonsense_itself(
    sql: Any, stocked: Stocked, request_: Request
) -> None:
    await stocked({"a": 5})
    assert await reserve(sql, request_, ("2", [("a", 1)])) == ["invalid_request", "ok"]
    assert await reserved(sql) == {"a": 1}


@pytest.mark.parametrize(
    "call",
    [
        "reserve_stock('main', NULL, 'a', 1)",
        "reserve_stock('main', '1', 'a', NULL)",
        "reserve_stock('main', '1', 'a', 0)",
        "reserve_stock('main', '1', NULL, 1)",
        "reserve_stock('main', '1', 'a', 1, NULL, '0 seconds')",
        "reserve_stock('main', '1', 'a', 1, NULL, '-1 second')",
        "reserve_stock('main', '1', 'a', 2147483648)",
    ],
)
async def test_the_single_form_refuses_nonsense_too(sql: Any, stocked: Stocked, call: str) -> None:
    await stocked({"a": 5})
    assert await sql.fetchval(f"SELECT result_code FROM {call}") == "invalid_request"
    assert await sql.fetchval("SELECT count(*) FROM reservations") == 0


@pytest.mark.parametrize("reservation_id", ["", "x" * 65, "a:b", "a b", "a\tb", "\u00a0", "\u200b"])
async def test_an_id_that_cannot_be_seen_is_refused_by_the_table(
    sql: Any, stocked: Stocked, reservation_id: str
) -> None:
    await stocked({"a": 5})
    with pytest.raises(asyncpg.CheckViolationError):
        await reserve(sql, (reservation_id, [("a", 1)]))


async def test_nothing_asked_is_nothing_done(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    assert await reserve(sql) == []
    rows = await sql.fetch(BATCH, "main", None, None, None, None, None)
    assert rows == []


async def test_a_lapsed_hold_is_reclaimed_where_it_is_in_the_way(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5, "b": 5})
    lapse = timedelta(microseconds=1)
    await reserve(sql, ("1", [("a", 5), ("b", 5)]), ttl=lapse)
    levels = await sql.fetch("SELECT reserved, available FROM stock_levels")
    assert [tuple(level) for level in levels] == [(0, 5), (0, 5)]
    assert await reserve(sql, ("2", [("a", 5)])) == ["ok"]
    # Line by line: b was nobody's business, and stays as it was.
    assert await reserved(sql) == {"a": 5, "b": 5}
    assert await reserve(sql, ("1", [("a", 5), ("b", 5)]), ttl=lapse) == ["reservation_closed"]
    assert await reserved(sql) == {"a": 5, "b": 0}


async def test_the_timestamp_makes_a_callback_and_is_kept(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    await sql.fetch("SELECT reserve_stock('main', '1', 'a', 1, '2020-02-29T23:59:59Z')")
    await sql.fetch("SELECT reserve_stock('main', '2', 'a', 1)")
    rows = await sql.fetch("SELECT kind, rfc3339(requested_at) FROM reservations ORDER BY 1")
    assert [tuple(row) for row in rows] == [("callback", "2020-02-29T23:59:59Z"), ("hold", None)]


async def test_an_update_by_hand_is_an_adjustment_with_its_author(
    sql: Any, stocked: Stocked
) -> None:
    await stocked({"a": 5})
    await sql.execute("UPDATE stock SET on_hand = 7")
    await sql.execute("SET holdfast.actor = 'maria'; UPDATE stock SET on_hand = 6")
    login = await sql.fetchval("SELECT session_user::text")
    rows = await sql.fetch(
        "SELECT delta, on_hand_after, reason, actor FROM stock_movements ORDER BY movement_id"
    )
    assert [tuple(row) for row in rows] == [
        (5, 5, "adjustment", login),
        (2, 7, "adjustment", login),
        (-1, 6, "adjustment", "maria"),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stock SET on_hand = 2",
        "UPDATE stock SET reserved = 6",
        "UPDATE stock SET reserved = -1",
        "DELETE FROM stock",
        "TRUNCATE stock",
        "UPDATE stock_movements SET delta = 1",
        "DELETE FROM stock_movements",
        "TRUNCATE stock_movements",
        "UPDATE reservations SET quantity = 1",
        "UPDATE reservations SET product_id = 'b'",
        "UPDATE reservations SET created_at = now()",
        "UPDATE reservations SET kind = 'order'",
        "DELETE FROM reservations",
        "TRUNCATE reservations",
        "TRUNCATE stores CASCADE",
        "DELETE FROM products",
        "UPDATE reservations SET status = 'released'",
        "UPDATE reservations SET expires_at = 'infinity'",
    ],
)
async def test_a_wrong_state_is_impossible_by_hand(
    sql: Any, stocked: Stocked, statement: str
) -> None:
    await stocked({"a": 5})
    await reserve(sql, ("1", [("a", 3)]))
    with pytest.raises(asyncpg.PostgresError):
        await sql.execute(statement)


async def test_stock_taken_out_of_the_table_leaves_the_ledger(sql: Any, stocked: Stocked) -> None:
    await stocked({"a": 5})
    await sql.execute("DELETE FROM stock")
    assert await sql.fetchval("SELECT sum(delta) FROM stock_movements") == 0
    broken = await sql.fetch("SELECT invariant FROM invariant_violations")
    assert [row["invariant"] for row in broken] == ["product_has_stock"]
    await sql.execute("INSERT INTO stock (store_id, product_id, on_hand) VALUES ('main', 'a', 1)")


DAMAGES = [
    ("UPDATE stock SET reserved = 2 WHERE product_id = 'a'", "reserved_equals_open_holds"),
    (
        "ALTER TABLE stock DISABLE TRIGGER USER;"
        "UPDATE stock SET on_hand = 9 WHERE product_id = 'a'",
        "on_hand_equals_movements",
    ),
    (
        "ALTER TABLE stock_movements DISABLE TRIGGER USER;"
        "UPDATE stock_movements SET on_hand_after = 4 WHERE product_id = 'a'",
        "movement_continues_the_last",
    ),
    (
        "INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity)"
        " VALUES ('main', '2', 1, 'hold', 'a', 1)",
        "reserved_equals_open_holds",
    ),
    (
        "INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,"
        " status, closed_at) VALUES ('main', '2', 2, 'hold', 'a', 1, 'released', now())",
        "lines_are_of_one_reservation",
    ),
    (
        "INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,"
        " status, closed_at) VALUES ('main', '1', 2, 'hold', 'b', 1, 'released', now())",
        "lines_are_of_one_reservation",
    ),
    (
        "SELECT reserve_stock_batch('main', ARRAY['2'], NULL, NULL, NULL, NULL, ARRAY[1, 1],"
        " ARRAY['a', 'b'], ARRAY[1, 1]); INSERT INTO reservations (store_id, reservation_id,"
        " line, kind, product_id, quantity, created_at, made_by)"
        " SELECT store_id, reservation_id, 3, kind, product_id, 1, created_at, made_by"
        " FROM reservations WHERE line = 2;"
        " UPDATE stock SET reserved = 2 WHERE product_id = 'b'",
        "lines_are_of_one_reservation",
    ),
    (
        "UPDATE reservations SET status = 'released', closed_at = now()",
        "reserved_equals_open_holds",
    ),
    (
        "UPDATE reservations SET status = 'committed', closed_at = now();"
        "UPDATE stock SET reserved = 0",
        "committed_goods_left",
    ),
    (
        "SELECT set_change_context('me', 'commit', '1');"
        "UPDATE stock SET on_hand = 3 WHERE product_id = 'a'",
        "committed_goods_left",
    ),
    (
        "ALTER TABLE reservations DISABLE TRIGGER USER; INSERT INTO reservations (store_id,"
        " reservation_id, line, kind, product_id, quantity, status, closed_at)"
        " VALUES ('main', '2', 1, 'hold', 'none', 1, 'released', now())",
        "reserved_product_is_known",
    ),
    ("ALTER TABLE stock DROP CONSTRAINT never_oversold;"
     "UPDATE stock SET on_hand = 2 WHERE product_id = 'a'",
     "never_oversold"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "invariant"), DAMAGES)
async def test_every_broken_invariant_is_reported(
    sql: Any, stocked: Stocked, damage: str, invariant: str
) -> None:
    await stocked({"a": 5, "b": 2})
    await reserve(sql, ("1", [("a", 3)]))
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute(damage)
    rows = await sql.fetch("SELECT invariant FROM invariant_violations")
    await transaction.rollback()
    assert [row["invariant"] for row in rows] == [invariant]


async def test_a_second_create_store_changes_nothing(sql: Any) -> None:
    assert await sql.fetchval("SELECT create_store('north', 'North')") == "ok"
    assert await sql.fetchval("SELECT create_store('north', 'South')") == "already_exists"
    assert await sql.fetchval("SELECT name FROM stores") == "North"


async def test_the_service_role_may_reserve(connect_as: Connect, stocked: Stocked) -> None:
    await stocked({"a": 5})
    assert await reserve(await connect_as("service"), ("1", [("a", 1)])) == ["ok"]
