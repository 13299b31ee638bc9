"""POST /api/v1/payment/webhook: who may credit an account, and that it happens once (34, 35)."""

import asyncio
import base64
import hmac
import json
import time
from collections import Counter
from typing import Any

import asyncpg
import pytest

from service.domains.accounts import is_signed_webhook
from tests.support.aliases import Api, Connect, NewAccount, NewUser, Serve
from tests.support.builders import KEY, WEBHOOK, payment, sha1, signed
from tests.support.waits import certain, until_waiting

JSON = {"Content-Type": "application/json"}
OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 24).decode() for n in (1, 2))
MOST = 9223372036854775807


def headers(
    body: bytes, *secrets: str, message_id: str = "msg_1", age: int = 0, more: str = ""
) -> dict[str, str]:
    """Those of Standard Webhooks for a body, signed by some secrets."""
    timestamp = str(int(time.time()) - age)
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(base64.b64decode(s[6:]), content, "sha256") for s in secrets)
    signatures = [f"v1,{base64.b64encode(digest).decode()}" for digest in digests]
    return JSON | {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join([*more.split(), *signatures]),
    }


@pytest.fixture
async def api(serve: Serve) -> Api:
    return await serve(payment_key=KEY, webhook_secrets=f"{NEW} {OLD}")


@pytest.fixture
async def ann(new_user: NewUser) -> int:
    return await new_user("ann")


async def post(api: Api, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return await certain(lambda: api.post(WEBHOOK, json=content))


async def balances(sql: Any) -> dict[str, int]:
    rows = await sql.fetch("SELECT bill_id, balance FROM accounts")
    return {row["bill_id"]: row["balance"] for row in rows}


async def test_a_payment_makes_an_account_and_another_adds_to_it(
    api: Api, ann: int, sql: Any
) -> None:
    status, body = await post(api, signed(user_id=ann))
    assert status == 200
    assert body.pop("created_at").endswith("Z")
    account_id = await sql.fetchval("SELECT account_id FROM accounts WHERE user_id = $1", ann)
    assert body == {
        "transaction_id": "1234567",
        "account_id": account_id,
        "amount": 100,
        "balance_after": 100,
        "reason": "payment",
    }
    status, body = await post(api, signed(user_id=ann, transaction_id="tx-2", amount=23))
    assert (status, body["transaction_id"], body["balance_after"]) == (200, "tx-2", 123)
    assert await balances(sql) == {"11": 123}


async def test_a_repeat_answers_the_same_and_credits_once(api: Api, ann: int, sql: Any) -> None:
    first = await api.post(WEBHOOK, json=signed(user_id=ann))
    await post(api, signed(user_id=ann, transaction_id=2))
    as_text = payment(user_id=ann, transaction_id="1234567", bill_id="11")
    body = json.dumps(as_text).encode()
    for again in (
        await api.post(WEBHOOK, json=signed(user_id=ann)),
        await api.post(WEBHOOK, json=as_text | {"signature": sha1(as_text).upper()}),
        await api.post(WEBHOOK, data=body, headers=headers(body, NEW)),
    ):
        assert (again.status, await again.read()) == (200, await first.read())
    assert await balances(sql) == {"11": 200}


@pytest.mark.parametrize("change", [{"amount": 101}, {"bill_id": 12}, {"bill_id": 13}])
async def test_a_transaction_id_is_never_used_for_something_else(
    api: Api, ann: int, new_account: NewAccount, sql: Any, change: dict[str, Any]
) -> None:
    await new_account(ann, 5, "12")
    await post(api, signed(user_id=ann))
    status, body = await post(api, signed(user_id=ann, **change))
    assert (status, body["code"]) == (409, "transaction_id_reused")
    assert await balances(sql) == {"11": 100, "12": 5}


async def test_a_transaction_id_of_another_user_is_reused(
    api: Api, ann: int, new_user: NewUser, sql: Any
) -> None:
    await post(api, signed(user_id=ann))
    status, body = await post(api, signed(user_id=await new_user("bob")))
    assert (status, body["code"]) == (409, "transaction_id_reused")
    assert await balances(sql) == {"11": 100}


async def test_a_bill_belongs_to_one_user(api: Api, ann: int, new_user: NewUser, sql: Any) -> None:
    await post(api, signed(user_id=ann))
    bob = await new_user("bob")
    status, body = await post(api, signed(user_id=bob, transaction_id=2))
    assert (status, body["code"]) == (409, "bill_id_taken")
    assert body["detail"] == f"Bill 11 is not user {bob}'s."
    assert await balances(sql) == {"11": 100}


async def test_an_unknown_user_is_404_and_may_be_tried_again(
    api: Api, ann: int, new_user: NewUser, sql: Any
) -> None:
    status, body = await post(api, signed(user_id=ann + 1))
    assert (status, body["code"]) == (404, "unknown_user")
    assert await new_user("bob") == ann + 1
    assert (await post(api, signed(user_id=ann + 1)))[0] == 200


async def test_an_unknown_store_is_404(api: Api, ann: int) -> None:
    response = await api.post("/api/v1/stores/nowhere/payment/webhook", json=signed(user_id=ann))
    assert (response.status, (await response.json())["code"]) == (404, "unknown_store")


async def test_what_an_inactive_user_has_paid_is_not_lost(
    api: Api, new_user: NewUser, sql: Any
) -> None:
    assert (await post(api, signed(user_id=await new_user("eve", is_active=False))))[0] == 200
    assert await balances(sql) == {"11": 100}


async def test_stores_have_bills_and_transactions_of_their_own(
    api: Api, ann: int, new_user: NewUser, sql: Any
) -> None:
    other = await new_user("ann", "north")
    assert (await post(api, signed(user_id=ann)))[0] == 200
    north = "/api/v1/stores/north/payment/webhook"
    assert (await api.post(north, json=signed(user_id=other))).status == 200
    assert (await api.post(north, json=signed(user_id=ann, transaction_id=2))).status == 404
    assert await sql.fetchval("SELECT array_agg(balance) FROM accounts") == [100, 100]


async def test_a_balance_beyond_every_number_is_409(api: Api, ann: int, sql: Any) -> None:
    assert (await post(api, signed(user_id=ann, amount=MOST)))[0] == 200
    status, body = await post(api, signed(user_id=ann, transaction_id=2, amount=1))
    assert (status, body["code"]) == (409, "balance_too_large")
    assert await balances(sql) == {"11": MOST}


BAD_SIGNATURE = {
    "status": "error",
    "code": "bad_signature",
    "message": "Signature is not valid.",
    "detail": "Nothing was written.",
}


async def test_every_wrong_sha1_signature_is_one_401(api: Api, ann: int, sql: Any) -> None:
    good = signed(user_id=ann)
    wrong = [good | {"signature": text} for text in ("", "x", "é" * 40, "0" * 40, sha1(good, ""))]
    changes = ({"transaction_id": 2}, {"user_id": ann + 1}, {"bill_id": 12}, {"amount": 101})
    for content in (*wrong, payment(user_id=ann), *(good | change for change in changes)):
        assert await post(api, content) == (401, BAD_SIGNATURE)
    assert await balances(sql) == {}


async def test_fields_that_shift_do_not_verify(api: Api, ann: int, sql: Any) -> None:
    """Account 1 amount 1100 is not account 11 amount 100."""
    good = signed(user_id=ann, bill_id=1, amount=1100)
    for shifted in (
        {"bill_id": 11, "amount": 100},
        {"bill_id": 111, "amount": 0},
        {"user_id": int(f"{ann}1"), "bill_id": 1},
        {"transaction_id": int(f"1234567{ann}"), "user_id": 1},
    ):
        assert (await post(api, good | shifted))[0] in (401, 422)
    # With the colon that would let a field hold its neighbour, an id is none.
    assert (await post(api, good | {"transaction_id": f"1234567:{ann}"}))[0] == 422
    assert await balances(sql) == {}


async def test_every_wrong_webhook_signature_is_one_401(api: Api, ann: int, sql: Any) -> None:
    body = json.dumps(payment(user_id=ann)).encode()
    good = headers(body, NEW)
    stranger = "whsec_" + base64.b64encode(bytes(24)).decode()
    signature = good["webhook-signature"]
    attempts = [
        (body.replace(b"100", b"101"), good),
        (body + b" ", good),
        (b"{", good),
        (body, headers(body, stranger)),
        (body, headers(body, NEW, message_id="a.b")),
        (body, headers(body, NEW, message_id="m" * 257)),
        (body, headers(body, NEW, age=301)),
        (body, headers(body, NEW, age=-302)),
        *((body, good | {"webhook-id": wrong}) for wrong in ("msg_2", "", "é")),
        *((body, good | {"webhook-timestamp": wrong}) for wrong in ("", "x", "-1", "1e9", "1.5")),
        *(
            (body, good | {"webhook-signature": wrong})
            for wrong in ("", "v1", "v1,", "é", signature[3:], "v2" + signature[2:], signature[:-1])
        ),
        *(
            (body, {name: value for name, value in good.items() if name != missing})
            for missing in ("webhook-id", "webhook-timestamp", "webhook-signature")
        ),
    ]
    for content, sent in attempts:
        response = await api.post(WEBHOOK, data=content, headers=sent)
        assert (response.status, await response.json()) == (401, BAD_SIGNATURE), (content, sent)
    assert await balances(sql) == {}


async def test_both_secrets_are_good_during_a_rotation(api: Api, ann: int, sql: Any) -> None:
    for number, secrets in enumerate(((OLD,), (NEW,), (OLD, NEW)), 1):
        body = json.dumps(payment(user_id=ann, transaction_id=number)).encode()
        sent = headers(body, *secrets, age=100, more="v1a,x v1,y")
        assert (await api.post(WEBHOOK, data=body, headers=sent)).status == 200
    assert await balances(sql) == {"11": 300}


async def test_a_body_signed_by_headers_is_verified_before_it_is_read(api: Api) -> None:
    for body, status, code in (
        (b"{", 400, "malformed_json"),
        (b"{}", 422, "invalid_body"),
        (json.dumps(signed()).encode(), 422, "invalid_body"),
    ):
        response = await api.post(WEBHOOK, data=body, headers=headers(body, NEW))
        assert (response.status, (await response.json())["code"]) == (status, code)
        forged = headers(b"other", NEW)
        assert (await api.post(WEBHOOK, data=body, headers=forged)).status == 401


async def test_without_keys_no_payment_is_taken(serve: Serve, ann: int, sql: Any) -> None:
    keyless = await serve()
    body = json.dumps(payment(user_id=ann)).encode()
    nothing = payment(user_id=ann) | {"signature": sha1(payment(user_id=ann), "")}
    status, said = await post(keyless, nothing)
    assert (status, said["code"]) == (401, "bad_signature")
    assert said["detail"].startswith("HOLDFAST_PAYMENT_KEY is not set here:")
    for secret in ("whsec_", NEW):
        signed_body = headers(body, secret)
        response = await keyless.post(WEBHOOK, data=body, headers=signed_body)
        said = await response.json()
        assert (response.status, said["code"]) == (401, "bad_signature")
        assert said["detail"].startswith("HOLDFAST_WEBHOOK_SECRETS is not set here:")
    assert await balances(sql) == {}


async def test_one_kind_of_signature_says_that_it_is_not_set_up_beside_the_other(
    serve: Serve, ann: int, sql: Any
) -> None:
    body = json.dumps(payment(user_id=ann)).encode()
    by_key, by_webhook = await serve(payment_key=KEY), await serve(webhook_secrets=NEW)
    response = await by_key.post(WEBHOOK, data=body, headers=headers(body, NEW))
    assert (await response.json())["detail"].startswith("HOLDFAST_WEBHOOK_SECRETS is not set")
    response = await by_webhook.post(WEBHOOK, json=signed(user_id=ann))
    assert (await response.json())["detail"].startswith("HOLDFAST_PAYMENT_KEY is not set")
    assert await balances(sql) == {}


WRONG: dict[str, list[Any]] = {
    "amount": [0, -1, 1.0, "1", True, None, MOST + 1],
    "user_id": [0, -1, 1.0, "1", True, MOST + 1],
    "bill_id": [0, 1.5, "", "a:b", " 1", "1\n", "x" * 65, None],
    "transaction_id": [0, -1, "", "a:b", "\u200b", MOST + 1, []],
    "currency": ["RUB"],
}


@pytest.mark.parametrize(
    "change", [{field: value} for field, values in WRONG.items() for value in values], ids=str
)
async def test_wrong_fields_are_422_though_signed(
    api: Api, ann: int, sql: Any, change: dict[str, Any]
) -> None:
    content = payment(user_id=ann) | change
    body = json.dumps(content).encode()
    for response in (
        await api.post(WEBHOOK, json=content | {"signature": sha1(content)}),
        await api.post(WEBHOOK, data=body, headers=headers(body, NEW)),
    ):
        answer = await response.json()
        assert (response.status, answer["code"]) == (422, "invalid_body")
        assert [error["field"] for error in answer["errors"]] == list(change)
    assert await balances(sql) == {}


async def test_a_repeated_key_is_malformed(api: Api, ann: int, sql: Any) -> None:
    """Numbers as ids bring fewer quotes than text, and do not hide it."""
    body = json.dumps(signed(user_id=ann)).replace('"amount"', '"amount": 5, "amount"')
    response = await api.post(WEBHOOK, data=body, headers=JSON)
    assert (response.status, (await response.json())["code"]) == (400, "malformed_json")
    assert await balances(sql) == {}


def test_the_vector_of_standard_webhooks() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    sent = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    for seconds, is_signed in ((0, True), (300, True), (-300, True), (300.1, False), (-301, False)):
        assert is_signed_webhook([key], sent, body, 1614265330 + seconds) is is_signed
    assert not is_signed_webhook([key[:-1]], sent, body, 1614265330)
    assert not is_signed_webhook([], sent, body, 1614265330)


async def test_the_same_payment_100_times_at_once_credits_once(
    api: Api, ann: int, sql: Any
) -> None:
    answers = await asyncio.gather(*(post(api, signed(user_id=ann)) for _ in range(100)))
    assert Counter(status for status, _ in answers) == {200: 100}
    assert all(body == answers[0][1] for _, body in answers)
    assert await balances(sql) == {"11": 100}
    assert await sql.fetchval("SELECT count(*) FROM account_entries") == 1


async def test_one_transaction_id_for_two_bills_at_once_credits_one(
    api: Api, ann: int, sql: Any
) -> None:
    bodies = [signed(user_id=ann, bill_id=bill) for bill in (11, 12)] * 25
    answers = await asyncio.gather(*(post(api, body) for body in bodies))
    assert Counter(status for status, _ in answers) == {200: 25, 409: 25}
    assert list((await balances(sql)).values()) == [100]


async def test_first_payments_into_one_bill_at_once_are_all_there(
    api: Api, ann: int, sql: Any
) -> None:
    bodies = [signed(user_id=ann, transaction_id=n) for n in range(1, 51)]
    answers = await asyncio.gather(*(post(api, body) for body in bodies))
    assert Counter(status for status, _ in answers) == {200: 50}
    assert await balances(sql) == {"11": 5000}


async def second_credit(connect_as: Connect, user_id: int) -> str:
    """The code of a payment that comes while another fills the account."""
    first, second = [await connect_as("owner", is_patient=True) for _ in range(2)]
    pay = "SELECT result_code FROM receive_payment('main', $1, $2, '11', 9223372036854775000)"
    transaction = first.transaction()
    await transaction.start()
    assert await first.fetchval(pay, "1", user_id) == "ok"
    waiting = asyncio.create_task(second.fetchval(pay, "2", user_id))
    await until_waiting(first, second)
    await transaction.commit()
    return str(await waiting)


async def test_the_second_credit_waits_and_is_told(
    connect_as: Connect, ann: int, new_account: NewAccount
) -> None:
    await new_account(ann, 0, "11")
    assert await second_credit(connect_as, ann) == "balance_too_large"


async def test_without_the_lock_the_second_credit_decides_on_an_old_balance(
    connect_as: Connect, ann: int, new_account: NewAccount, sql: Any
) -> None:
    """Shows that the race above is real: then only the column's range stops it."""
    await new_account(ann, 0, "11")
    body = await sql.fetchval("SELECT pg_get_functiondef('receive_payment'::regproc)")
    assert body.count("FOR UPDATE") == 1
    await sql.execute(body.replace("FOR UPDATE", ""))
    with pytest.raises(asyncpg.NumericValueOutOfRangeError):
        await second_credit(connect_as, ann)


@pytest.mark.parametrize(
    "arguments",
    ["NULL, 1, '1', 1", "'1', NULL, '1', 1", "'1', 1, NULL, 1", "'1', 1, '1', NULL",
     "'1', 1, '1', 0", "'1', 1, '1', -1"],
)  # fmt: skip
async def test_the_function_refuses_nonsense_itself(sql: Any, ann: int, arguments: str) -> None:
    call = f"SELECT result_code FROM receive_payment('main', {arguments})"
    assert await sql.fetchval(call) == "invalid_request"
