"""Accounts: money that users paid in by a signed webhook, and what they buy with it."""

import hashlib
import hmac
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from aiohttp import web
from sqlalchemy import text

from service.database.pool import Database, Kept
from service.results import Refusal
from service.web import responses
from service.web.bodies import (
    MAX_BIGINT,
    OutsideId,
    Quantity,
    check_headers,
    decode,
    read_bytes,
)
from service.web.context import CALLER, SETTINGS, STORE_ID, call, doubted, read
from service.web.routing import EVERYONE, USERS, Routes
from service.web.stock_lane import Answer, answers_of, call_together

READ_STATEMENT = text("SELECT * FROM read_statement(:store_id, :user_id, :after, :limit)")
BUY_PRODUCTS = text(
    "SELECT * FROM buy_products(:store_id, CAST(:user_ids AS bigint[]),"
    " CAST(:product_ids AS text[]), CAST(:account_ids AS bigint[]), CAST(:quantities AS bigint[]))"
)
RECEIVE_PAYMENT = text(
    "SELECT * FROM receive_payment(:store_id, :transaction_id, :user_id, :bill_id, :amount)"
)

WEBHOOK_ID = "webhook-id"
WEBHOOK_TIMESTAMP = "webhook-timestamp"
WEBHOOK_SIGNATURE = "webhook-signature"
TOLERANCE_SECONDS = 300

NOT_SET = "{} is not set here: no signature of this kind is good. Nothing was written."
MAY_HAVE_BOUGHT = (
    "The connection was lost after sending. Repeating could buy twice: see GET /users/me first. "
    "With an Idempotency-Key a repeat is safe."
)

# No dot in the id, only digits in the time: else one signed text could be read in two ways.
_webhook_id = re.compile(r"[!-\-/-~]{1,256}")
_webhook_timestamp = re.compile(r"[0-9]{1,11}")

BigId = Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]
PayersId = BigId | Annotated[str, msgspec.Meta(pattern=OutsideId.PATTERN)]
"""An id of the payer's system: 17 and "17" are the same, as they are to its signature."""


class Purchase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /products/buy: units of a product, paid from an account of the caller."""

    product_id: OutsideId
    account_id: BigId
    quantity: Quantity = 1


class Asked(NamedTuple):
    """What buy_products is asked for one purchase."""

    user_id: int | None
    purchase: Purchase


class Payment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """POST /payment/webhook: a user has paid `amount` minor units into the account of a bill.

    No field can hold the colon that SHA-1 signatures join them with, and each has one written
    form, so that no other payment has the same signature.
    """

    transaction_id: PayersId
    user_id: BigId
    bill_id: PayersId
    amount: Annotated[int, msgspec.Meta(ge=1, le=MAX_BIGINT)]


class SignedPayment(Payment, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The same, with its SHA-1 signature in hex."""

    signature: str = ""


class StatementQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """GET /users/me: which page of the transactions."""

    after: BigId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


PAYMENT = msgspec.json.Decoder(Payment)
SIGNED_PAYMENT = msgspec.json.Decoder(SignedPayment)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money of a user, in minor units."""

    account_id: int
    bill_id: str
    balance: int


class Transaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of a balance."""

    transaction_id: str
    """Of a payment as the payer's system chose it; else with a colon, such as purchase:17."""
    account_id: int
    amount: int
    """In minor units: what came in, or, below zero, went out."""
    balance_after: int
    reason: str
    created_at: datetime


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller, their accounts, and a page of what changed the balances, newest first."""

    user_id: int
    login: str
    role: str
    accounts: list[Account]
    transactions: list[Transaction]
    next: int | None
    """The `after` of the page that follows."""


class Bought(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A purchase, and the balance that it left; amounts in minor units."""

    purchase_id: int
    account_id: int
    product_id: str
    quantity: int
    price_at_purchase: int
    total: int
    balance: int
    created_at: datetime


routes = Routes()


@routes.get(
    "/users/me",
    USERS,
    query=StatementQuery,
    answer=Statement,
    codes=("ok", "unknown_user", "unknown_store"),
)
async def read_statement(request: web.Request, query: StatementQuery) -> web.Response:
    """The caller, their accounts and, newest first, what changed the balances."""
    ids = {"store_id": request[STORE_ID], "user_id": request[CALLER].user_id}
    row = await read(request, READ_STATEMENT, **ids, **msgspec.structs.asdict(query))
    return responses.respond(row, **ids)


@routes.post(
    "/products/buy",
    USERS,
    body=Purchase,
    answer=Bought,
    codes=(
        "ok",
        "insufficient_stock",
        "insufficient_funds",
        "not_for_sale",
        "unknown_product",
        "unknown_account",
        "unknown_store",
        "invalid_request",
    ),
)
async def buy_product(request: web.Request, purchase: Purchase) -> web.Response:
    """Buy units of a product with the caller's own money: all of it or nothing."""
    ids = {"store_id": request[STORE_ID], **msgspec.structs.asdict(purchase)}
    keys = [purchase.product_id, f"account:{purchase.account_id}"]  # no product has a colon
    asked = Asked(request[CALLER].user_id, purchase)
    with doubted(request, MAY_HAVE_BOUGHT):
        (row,) = await call_together(request, _buy_together, keys, [asked])
    return responses.respond(row, **ids)


@routes.post(
    "/payment/webhook",
    EVERYONE,
    is_unlimited=True,
    takes_key=False,  # a kept answer would be given without a look at the signature
    judges_origin=False,
    reads_body=True,
    read_as=SignedPayment,
    answer=Transaction,
    codes=(
        "ok",
        "already_paid",
        "transaction_id_reused",
        "bill_id_taken",
        "balance_too_large",
        "unknown_user",
        "unknown_store",
        "invalid_request",
        "bad_signature",
    ),
)
async def receive_payment(request: web.Request) -> web.Response:
    """Credit an account, once per transaction_id, for ever; the signature is the credential."""
    payment = await _read_payment(request)
    ids = {
        "store_id": request[STORE_ID],
        "transaction_id": str(payment.transaction_id),
        "user_id": payment.user_id,
        "bill_id": str(payment.bill_id),
        "amount": payment.amount,
    }
    return responses.respond(await call(request, RECEIVE_PAYMENT, **ids), **ids)


async def _buy_together(
    connection: Database | Kept, store_id: str, asked: Sequence[Asked]
) -> Sequence[Answer]:
    """Ask buy_products for all of them: one answer per purchase, in order."""
    row = await connection.call(
        BUY_PRODUCTS,
        store_id=store_id,
        user_ids=[each.user_id for each in asked],
        product_ids=[each.purchase.product_id for each in asked],
        account_ids=[each.purchase.account_id for each in asked],
        quantities=[each.purchase.quantity for each in asked],
    )
    return answers_of(row)


async def _read_payment(request: web.Request) -> Payment:
    """The payment of a request whose signature holds, in either scheme; else a Refusal."""
    check_headers(request)
    body = await read_bytes(request)
    settings = request.app[SETTINGS]
    if WEBHOOK_SIGNATURE in request.headers:
        if not settings.webhook_secrets:
            raise Refusal("bad_signature", NOT_SET.format("HOLDFAST_WEBHOOK_SECRETS"))
        if not is_signed_webhook(settings.webhook_keys, request.headers, body, time.time()):
            raise Refusal("bad_signature")
        return decode(body, PAYMENT)
    if not settings.payment_key:
        raise Refusal("bad_signature", NOT_SET.format("HOLDFAST_PAYMENT_KEY"))
    payment = decode(body, SIGNED_PAYMENT)
    if not is_signed_payment(settings.payment_key, payment):
        raise Refusal("bad_signature")
    return payment


def is_signed_payment(key: str, payment: SignedPayment) -> bool:
    """Whether the signature is the SHA-1, in hex, of key and fields joined by colons."""
    fields = (key, payment.transaction_id, payment.user_id, payment.bill_id, payment.amount)
    signed = ":".join(map(str, fields)).encode()
    expected = hashlib.sha1(signed, usedforsecurity=False).hexdigest()
    return hmac.compare_digest(expected.encode(), payment.signature.lower().encode())


def is_signed_webhook(
    keys: Iterable[bytes], headers: Mapping[str, str], body: bytes, now: float
) -> bool:
    """Whether a body carries a Standard Webhooks signature by one of `keys`, of about `now`.

    https://www.standardwebhooks.com: HMAC-SHA256, in base64, over id, time and body as sent.
    """
    message_id, timestamp = headers.get(WEBHOOK_ID, ""), headers.get(WEBHOOK_TIMESTAMP, "")
    if not _webhook_id.fullmatch(message_id) or not _webhook_timestamp.fullmatch(timestamp):
        return False
    if abs(now - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    signed = f"{message_id}.{timestamp}.".encode() + body
    given = headers[WEBHOOK_SIGNATURE].encode(errors="surrogateescape").split(b" ")
    is_ours = False
    for key in keys:
        expected = b"v1," + b64encode(hmac.digest(key, signed, "sha256"))
        for signature in given:
            is_ours |= hmac.compare_digest(expected, signature)
    return is_ours
