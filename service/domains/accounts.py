"""Accounts: money that users paid in by a signed webhook, and what they buy with it."""

import hashlib
import hmac
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec
from aiohttp import web
from sqlalchemy import text

from service import results
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
from service.web.context import CALLER, DATABASE, SETTINGS, STORE_ID
from service.web.routing import EVERYONE, USERS, Routes

READ_STATEMENT = text("SELECT * FROM read_statement(:store_id, :user_id, :after, :limit)")
BUY_PRODUCT = text(
    "SELECT * FROM buy_product(:store_id, :user_id, :product_id, :account_id, :quantity)"
)
RECEIVE_PAYMENT = text(
    "SELECT * FROM receive_payment(:store_id, :transaction_id, :user_id, :bill_id, :amount)"
)

WEBHOOK_ID = "webhook-id"
WEBHOOK_TIMESTAMP = "webhook-timestamp"
WEBHOOK_SIGNATURE = "webhook-signature"
TOLERANCE_SECONDS = 300

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

routes = Routes()


@routes.get("/users/me", USERS, query=StatementQuery)
async def read_statement(request: web.Request, query: StatementQuery) -> web.Response:
    """The caller, their accounts and, newest first, what changed the balances."""
    ids = {"store_id": request[STORE_ID], "user_id": request[CALLER].user_id}
    row = await request.app[DATABASE].read(READ_STATEMENT, **ids, **msgspec.structs.asdict(query))
    return _respond(row, ids)


@routes.post("/products/buy", USERS, body=Purchase)
async def buy_product(request: web.Request, purchase: Purchase) -> web.Response:
    """Buy units of a product with the caller's own money: all of it or nothing."""
    ids = {"store_id": request[STORE_ID], **msgspec.structs.asdict(purchase)}
    row = await request.app[DATABASE].call(BUY_PRODUCT, **ids, user_id=request[CALLER].user_id)
    return _respond(row, ids)


@routes.post("/payment/webhook", EVERYONE, reads_body=True)
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
    return _respond(await request.app[DATABASE].call(RECEIVE_PAYMENT, **ids), ids)


async def _read_payment(request: web.Request) -> Payment:
    """The payment of a request whose signature holds, in either scheme; else a Refusal."""
    check_headers(request)
    body = await read_bytes(request)
    settings = request.app[SETTINGS]
    if WEBHOOK_SIGNATURE in request.headers:
        if not is_signed_webhook(settings.webhook_keys, request.headers, body, time.time()):
            raise Refusal("bad_signature")
        return decode(body, PAYMENT)
    if not settings.payment_key:
        raise Refusal("bad_signature")
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


def _respond(row: Any, ids: dict[str, Any]) -> web.Response:
    """The document that the database built, or the error that its code means."""
    if results.is_error(row.result_code):
        facts = msgspec.json.decode(row.document or "{}")
        return responses.respond_code(row.result_code, **ids, **facts)
    return responses.json_response(row.document, code=row.result_code)
