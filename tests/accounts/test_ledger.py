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
        " FROM account_entries ORDER BY number"
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
    "INSERT INTO account_entries (store_id, account_id, user_id, number, amount, balance_after,"
    " reason, reference, actor)"
    " SELECT 'main', account_id, user_id, {}, {}, {}, 'adjustment', NULL, 'dba' FROM accounts;"
)
UNGUARDED = "ALTER TABLE account_entries DISABLE TRIGGER USER; "
"""As a DBA may. The foreign keys still hold."""
BY_HAND = [
    (ENTRY.format(3, 5, 75), "Change the balance of the account: that writes the entry."),
    ("UPDATE accounts SET user_id = user_id + 1", "Only the balance changes"),
    ("UPDATE accounts SET bill_id = 'b9'", "Only the balance changes"),
    ("UPDATE accounts SET entry_count = 9", "Only the balance changes"),
    ("UPDATE accounts SET balance = 9, store_id = 'other'", "Only the balance changes"),
]
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
        UNGUARDED + ENTRY.format(3, -5, 65),
        ["balance_equals_entries", "entries_are_as_many_as_counted"],
    ),
    "a forged pair of entries that add up to nothing": (
        UNGUARDED + ENTRY.format(3, -5, 65) + ENTRY.format(4, 5, 70),
        ["entries_are_as_many_as_counted"],
    ),
    "a pair of entries taken away": (
        "UPDATE accounts SET balance = 75; UPDATE accounts SET balance = 70;"
        + UNGUARDED + "DELETE FROM account_entries WHERE number > 2",
        ["entries_are_as_many_as_counted"],
    ),
    "an entry taken from between": (
        "UPDATE accounts SET balance = 75; UPDATE accounts SET balance = 80;"
        + UNGUARDED + "DELETE FROM account_entries WHERE number = 3",
        ["balance_equals_entries", "entries_are_as_many_as_counted", "entry_follows_the_last"],
    ),
    "a number passed over": (
        UNGUARDED + "UPDATE account_entries SET number = 9 WHERE number = 2",
        ["entry_follows_the_last"],
    ),
    "a balance_after made up": (
        UNGUARDED + "UPDATE account_entries SET balance_after = 80 WHERE number = 2",
        ["entry_follows_the_last"],
    ),
    "an account given to another user": (
        "ALTER TABLE account_entries DROP CONSTRAINT entries_keep_their_owner;"
        "ALTER TABLE accounts DISABLE TRIGGER USER;"
        "UPDATE accounts SET user_id = (SELECT max(user_id) FROM users)",
        ["account_keeps_its_owner", "account_keeps_its_owner", "purchase_is_the_owners"],
    ),
    "an account without entries given to another user": (
        "INSERT INTO accounts (store_id, user_id, bill_id) SELECT 'main', max(user_id), 'b2'"
        " FROM users; ALTER TABLE purchases DISABLE TRIGGER USER;"
        "UPDATE purchases SET account_id = (SELECT max(account_id) FROM accounts)",
        ["purchase_is_paid_once", "purchase_is_the_owners"],
    ),
    "an entry for no purchase": (
        "SET holdfast.reason = 'purchase'; SET holdfast.reference = '0';"
        "UPDATE accounts SET balance = balance - 1",
        ["purchase_is_paid_once"],
    ),
    "an entry for a purchase of nothing": (
        "SET holdfast.reason = 'purchase'; UPDATE accounts SET balance = balance - 1",
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
    "a purchase taken away": (
        "ALTER TABLE purchases DISABLE TRIGGER USER; DELETE FROM purchases",
        ["purchase_is_paid_once", "purchase_left_the_stock"],
    ),
    "a purchase of more than was paid": (
        "ALTER TABLE purchases DISABLE TRIGGER USER; UPDATE purchases SET quantity = 2",
        ["purchase_is_paid_once", "purchase_left_the_stock"],
    ),
    "units that left twice": (
        "SET holdfast.reason = 'purchase'; SELECT set_config('holdfast.reference',"
        " purchase_id::text, false) FROM purchases; UPDATE stock SET on_hand = on_hand - 1"
        " WHERE product_id = '7'",
        ["purchase_left_the_stock"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("statement", "hint"), BY_HAND)
async def test_the_ledger_is_written_by_changes_of_balances_alone(
    sql: Any, purchase: int, statement: str, hint: str
) -> None:
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="is refused") as refusal:
        await sql.execute(statement)
    assert hint in (refusal.value.hint or "")


async def test_an_account_with_a_history_is_no_other_users_whatever_is_disabled(
    sql: Any, account: int, new_user: NewUser
) -> None:
    bob = await new_user("bob")
    await sql.execute("ALTER TABLE accounts DISABLE TRIGGER USER")
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="entries_keep_their_owner"):
        await sql.execute("UPDATE accounts SET user_id = $1", bob)


async def test_what_is_done_to_accounts_by_hand_is_on_record(
    sql: Any, account: int, connect_as: Connect
) -> None:
    empty = await sql.fetchval(
        "INSERT INTO accounts (store_id, user_id, bill_id) SELECT 'main', user_id, 'b2'"
        " FROM accounts RETURNING account_id"
    )
    user_id = await sql.fetchval("SELECT user_id FROM accounts LIMIT 1")
    pay = "SELECT result_code FROM receive_payment('main', 'tx', $1, 'b1', 5)"
    assert await (await connect_as("service")).fetchval(pay, user_id) == "ok"
    await sql.execute("UPDATE accounts SET balance = 80 WHERE account_id = $1", account)
    await sql.execute("DELETE FROM accounts WHERE account_id = $1", empty)
    rows = await sql.fetch(
        "SELECT actor, subject, action, details ->> 'balance' AS balance FROM audit_log"
        " WHERE subject LIKE 'accounts/%' ORDER BY entry_id"
    )
    me = await sql.fetchval("SELECT session_user")
    assert [tuple(row) for row in rows] == [
        (me, f"accounts/{account}", "insert", '{"to": 100}'),
        (me, f"accounts/{empty}", "insert", '{"to": 0}'),
        (me, f"accounts/{account}", "update", '{"to": 80, "from": 105}'),
        (me, f"accounts/{empty}", "delete", '{"from": 0}'),
    ]
    actors = await sql.fetch("SELECT actor FROM account_entries ORDER BY number")
    assert [row["actor"] for row in actors] == [me, "payer:b1", me]


async def test_an_entry_is_never_before_the_last_of_its_account(sql: Any, account: int) -> None:
    """Also while the server's clock is behind what it was."""
    await sql.execute(UNGUARDED)
    await sql.execute("UPDATE account_entries SET created_at = clock_timestamp() + interval '1 h'")
    await sql.execute("UPDATE accounts SET balance = 70; UPDATE accounts SET balance = 80")
    times = await sql.fetch("SELECT DISTINCT created_at FROM account_entries")
    assert len(times) == 1


@pytest.mark.parametrize(("statements", "broken"), BREAKS.values(), ids=BREAKS)
async def test_the_view_names_what_is_broken(
    sql: Any, purchase: int, new_user: NewUser, statements: str, broken: list[str]
) -> None:
    await new_user("bob")
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
