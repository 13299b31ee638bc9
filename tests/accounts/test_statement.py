"""GET /api/v1/users/me: whose money it is, how much, and what became of it."""

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
    adjusted = await sql.fetchval("SELECT max(entry_id) FROM account_entries WHERE amount = 5")

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
