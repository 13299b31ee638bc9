"""GET /api/v1/users/me: whose money it is, how much, and what became of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.aliases import Api, NewAccount, NewUser, Stocked

SignedIn = Callable[..., dict[str, str]]

ME = "/api/v1/users/me"


async def test_someone_without_money_has_no_accounts(
    api: Api, signed_in: SignedIn, new_user: NewUser
) -> None:
    user_id = await new_user("ann")
    response = await api.get(ME, headers=signed_in(user_id))
    assert response.status == 200
    assert await response.json() == {
        "user_id": user_id,
        "login": "ann",
        "role": "customer",
        "accounts": [],
        "transactions": [],
        "next": None,
    }


async def test_accounts_and_transactions_are_the_callers_own_newest_first(
    api: Api,
    signed_in: SignedIn,
    new_user: NewUser,
    new_account: NewAccount,
    stocked: Stocked,
    sql: Any,
) -> None:
    ann, bob = await new_user("ann"), await new_user("bob")
    first = await new_account(ann, 0, "b1")
    await new_account(bob, 77, "b2")
    second = await new_account(ann, 5, "b3")
    await stocked({"7": 5})
    await sql.execute("UPDATE products SET price = 30")
    pay = "SELECT result_code FROM receive_payment('main', 'tx-1', $1, 'b1', 100)"
    assert await sql.fetchval(pay, ann) == "ok"
    buy = "SELECT document::text FROM buy_product('main', $1, '7', $2, 2)"
    assert await sql.fetchval(buy, ann, first)
    purchase_id = await sql.fetchval("SELECT purchase_id FROM purchases")
    adjusted = await sql.fetchval("SELECT entry_id FROM account_entries WHERE amount = 5")

    body = await (await api.get(ME, headers=signed_in(ann))).json()
    assert body["accounts"] == [
        {"account_id": first, "bill_id": "b1", "balance": 40},
        {"account_id": second, "bill_id": "b3", "balance": 5},
    ]
    assert all(entry.pop("created_at").endswith("Z") for entry in body["transactions"])
    names = ("transaction_id", "account_id", "amount", "balance_after", "reason")
    assert body["transactions"] == [
        dict(zip(names, values, strict=True))
        for values in (
            (f"purchase:{purchase_id}", first, -60, 40, "purchase"),
            ("tx-1", first, 100, 100, "payment"),
            (f"adjustment:{adjusted}", second, 5, 5, "adjustment"),
        )
    ]


async def test_transactions_are_paged_across_accounts(
    api: Api, signed_in: SignedIn, new_user: NewUser, sql: Any
) -> None:
    ann = await new_user("ann")
    pay = "SELECT result_code FROM receive_payment('main', $1, $2, $3, 1)"
    for n in range(7):
        assert await sql.fetchval(pay, f"t{n}", ann, f"b{n % 3}") == "ok"
    pages, after = [], ""
    while True:
        body = await (await api.get(f"{ME}?limit=3{after}", headers=signed_in(ann))).json()
        assert len(body["accounts"]) == 3
        pages.append([entry["transaction_id"] for entry in body["transactions"]])
        if body["next"] is None:
            break
        after = f"&after={body['next']}"
    assert pages == [["t6", "t5", "t4"], ["t3", "t2", "t1"], ["t0"]]


async def test_the_order_is_that_of_time_and_of_each_account_not_of_ids(
    api: Api, signed_in: SignedIn, new_user: NewUser, new_account: NewAccount, sql: Any
) -> None:
    """On a distributed engine the ids of one node come after those of another."""
    ann = await new_user("ann")
    accounts = [await new_account(ann, 0, bill) for bill in ("b1", "b2")]
    pay = "SELECT result_code FROM receive_payment('main', $1, $2, $3, 1)"
    sequence = "ALTER SEQUENCE account_entries_entry_id_seq RESTART WITH {}"
    for n, first_id in enumerate((900, 800, 100, 700, 50, 600), 1):
        await sql.execute(sequence.format(first_id))
        assert await sql.fetchval(pay, f"t{n}", ann, f"b{n % 2 + 1}") == "ok"
    pages, after = [], ""
    while after is not None:
        response = await api.get(f"{ME}?limit=2{after}", headers=signed_in(ann))
        body = await response.json()
        pages.append([entry["transaction_id"] for entry in body["transactions"]])
        after = body["next"] and f"&after={body['next']}"
    assert pages == [["t6", "t5"], ["t4", "t3"], ["t2", "t1"], []]
    rows = await sql.fetch("SELECT account_id, number FROM account_entries ORDER BY entry_id DESC")
    assert {tuple(row) for row in rows} == {(each, n) for each in accounts for n in (1, 2, 3)}


async def test_entries_of_one_moment_are_in_one_order(sql: Any, new_user: NewUser) -> None:
    ann = await new_user("ann")
    pay = "SELECT result_code FROM receive_payment('main', $1, $2, $3, 1)"
    for n in range(8):
        assert await sql.fetchval(pay, f"t{n}", ann, f"b{n % 3}") == "ok"
    await sql.execute("ALTER TABLE account_entries DISABLE TRIGGER append_only")
    await sql.execute("UPDATE account_entries SET created_at = '2026-01-01Z'")
    read = "SELECT document::text FROM read_statement('main', $1, $2, 3)"
    seen, after = [], None
    for _ in range(3):
        page = json.loads(await sql.fetchval(read, ann, after))
        seen += [entry["transaction_id"] for entry in page["transactions"]]
        after = page["next"]
    assert (len(seen), set(seen), after) == (8, {f"t{n}" for n in range(8)}, None)


async def test_the_entry_of_somebody_else_is_no_place_to_go_on_from(
    api: Api, signed_in: SignedIn, new_user: NewUser, new_account: NewAccount, sql: Any
) -> None:
    ann, bob = await new_user("ann"), await new_user("bob")
    await new_account(ann, 5, "b1")
    await new_account(bob, 5, "b2")
    others = await sql.fetchval("SELECT entry_id FROM account_entries WHERE user_id = $1", bob)
    for after in (others, 404):
        response = await api.get(f"{ME}?after={after}", headers=signed_in(ann))
        body = await response.json()
        assert (response.status, body["transactions"], body["next"]) == (200, [], None)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=0", "after=x", "user_id=1"])
async def test_a_wrong_query_is_422(
    api: Api, signed_in: SignedIn, new_user: NewUser, query: str
) -> None:
    response = await api.get(f"{ME}?{query}", headers=signed_in(await new_user("ann")))
    assert (response.status, (await response.json())["code"]) == (422, "invalid_query")


async def test_unknown_users_are_401_and_other_stores_404(
    api: Api, signed_in: SignedIn, new_user: NewUser
) -> None:
    ann = await new_user("ann")
    assert (await api.get(ME, headers=signed_in(ann + 1))).status == 401
    assert (await api.get("/api/v1/stores/no/users/me", headers=signed_in(ann))).status == 404


async def test_the_function_knows_its_users_and_stores(sql: Any, new_user: NewUser) -> None:
    ann = await new_user("ann")
    read = "SELECT result_code FROM read_statement($1, $2, NULL, 10)"
    assert await sql.fetchval(read, "main", ann + 1) == "unknown_user"
    assert await sql.fetchval(read, "no", ann) == "unknown_store"


async def test_who_has_not_signed_in_sees_nothing(api: Api) -> None:
    assert (await api.get(ME)).status == 401
