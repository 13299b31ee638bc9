"""The ledger of balances, as a DBA sees it; and that account_violations finds what is broken."""

from typing import Any

import asyncpg
import pytest

from tests.support.aliases import Connect, NewAccount, NewUser, Stocked

VIOLATIONS = "SELECT invariant, subject FROM invariant_violations ORDER BY 1"


@pytest.fixture
async def account(new_user: NewUser, new_account: NewAccount) -> int:
    """An account with 100."""
    return await new_account(await new_user("ann"), 100)


@pytest.fixture
async def purchase(account: int, stocked: Stocked, sql: Any) -> int:
    """One unit of product 7, bought at 30."""
    await stocked({"7": 5, "8": 5})
    await sql.execute("UPDATE products SET price = 30")
    user_id = await sql.fetchval("SELECT user_id FROM accounts")
    call = "SELECT result_code FROM buy_product('main', $1, '7', $2, 1)"
    assert await sql.fetchval(call, user_id, account) == "ok"
    return int(await sql.fetchval("SELECT purchase_id FROM purchases"))


async def test_a_change_by_hand_is_an_adjustment_by_the_login(sql: Any, account: int) -> None:
    await sql.execute("UPDATE accounts SET balance = 70; UPDATE accounts SET balance = balance")
    await sql.execute("SET holdfast.actor = 'maria'; UPDATE accounts SET balance = 80")
    rows = await sql.fetch(
        "SELECT amount, balance_after, reason, transaction_id, reference, actor"
        " FROM account_entries ORDER BY entry_id"
    )
    login = await sql.fetchval("SELECT session_user")
    assert [tuple(row) for row in rows] == [
        (100, 100, "adjustment", None, None, login),
        (-30, 70, "adjustment", None, None, login),
        (10, 80, "adjustment", None, None, "maria"),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account_entries SET amount = 1",
        "DELETE FROM account_entries",
        "TRUNCATE account_entries",
        "TRUNCATE accounts CASCADE",
        "UPDATE purchases SET quantity = 2",
        "DELETE FROM purchases",
        "TRUNCATE purchases",
    ],
)
async def test_history_is_only_added_to(sql: Any, purchase: int, statement: str) -> None:
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="is refused"):
        await sql.execute(statement)


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE accounts SET balance = -1", "never_overdrawn"),
        ("DELETE FROM accounts", "account_entries"),
        ("INSERT INTO accounts (store_id, user_id, bill_id) SELECT store_id, user_id, bill_id"
         " FROM accounts", "accounts_by_bill"),
        ("INSERT INTO accounts (store_id, user_id, bill_id) VALUES ('main', 0, 'b')", "users"),
        ("SET holdfast.reason = 'payment'; UPDATE accounts SET balance = 1", "payment_has_its_id"),
        ("SET holdfast.reason = 'supply'; UPDATE accounts SET balance = 1", "known_reason"),
    ],
)  # fmt: skip
async def test_a_wrong_state_is_impossible_also_by_hand(
    sql: Any, account: int, statement: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=constraint):
        await sql.execute(statement)


ENTRY = (
    "INSERT INTO account_entries"
    " (store_id, account_id, amount, balance_after, reason, reference, actor)"
    " SELECT 'main', account_id, {}, {}, {}, 'dba' FROM accounts"
)
NOBODY = "'adjustment', NULL"
BREAKS = {
    "a balance changed behind the ledger": (
        "ALTER TABLE accounts DISABLE TRIGGER USER; UPDATE accounts SET balance = 1",
        ["balance_equals_entries"],
    ),
    "an overdrawn account": (
        "ALTER TABLE accounts DROP CONSTRAINT never_overdrawn;"
        "ALTER TABLE account_entries DROP CONSTRAINT account_entries_balance_after_check;"
        "UPDATE accounts SET balance = -1",
        ["never_overdrawn"],
    ),
    "an entry by hand": (
        ENTRY.format(-5, 65, NOBODY),
        ["balance_equals_entries"],
    ),
    "a balance_after made up": (
        f"{ENTRY.format(5, 80, NOBODY)}; {ENTRY.format(-5, 70, NOBODY)}",
        ["entry_continues_the_last"],
    ),
    "an entry for no purchase": (
        "SET holdfast.reason = 'purchase'; SET holdfast.reference = '0';"
        "UPDATE accounts SET balance = balance - 1",
        ["purchase_is_paid_once"],
    ),
    "a movement for no purchase": (
        "SET holdfast.reason = 'purchase'; UPDATE stock SET on_hand = 1 WHERE product_id = '8'",
        ["purchase_left_the_stock"],
    ),
    "a purchase out of nothing": (
        "INSERT INTO purchases (store_id, user_id, account_id, product_id, quantity,"
        " price_at_purchase) SELECT store_id, user_id, account_id, '7', 1, 30 FROM accounts",
        ["purchase_is_paid_once", "purchase_left_the_stock"],
    ),
    "units that left twice": (
        "SET holdfast.reason = 'purchase'; SELECT set_config('holdfast.reference',"
        " purchase_id::text, false) FROM purchases; UPDATE stock SET on_hand = on_hand - 1"
        " WHERE product_id = '7'",
        ["purchase_left_the_stock"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "broken"), BREAKS.values(), ids=BREAKS)
async def test_the_view_names_what_is_broken(
    sql: Any, purchase: int, statements: str, broken: list[str]
) -> None:
    assert await sql.fetch(VIOLATIONS) == []
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute(statements)
    assert [row["invariant"] for row in await sql.fetch(VIOLATIONS)] == broken
    await transaction.rollback()


async def test_one_purchase_cannot_be_paid_twice(sql: Any, purchase: int) -> None:
    await sql.execute(
        "SELECT set_config('holdfast.reason', 'purchase', false),"
        f" set_config('holdfast.reference', '{purchase}', false)"
    )
    with pytest.raises(asyncpg.UniqueViolationError, match="account_entries_by_purchase"):
        await sql.execute("UPDATE accounts SET balance = balance - 30")


async def test_the_reader_sees_the_money(connect_as: Connect, purchase: int) -> None:
    reader = await connect_as("reader")
    for table in ("accounts", "account_entries", "purchases"):
        assert await reader.fetchval(f"SELECT count(*) FROM {table}") > 0
    assert await reader.fetch("SELECT * FROM account_violations") == []
