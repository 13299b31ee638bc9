"""The one table from result code to HTTP status and message, and the one shape of an answer."""

import json
from typing import Any, NamedTuple


class Result(NamedTuple):
    """What a code means to a caller; `detail` is filled with the fields of the answer."""

    status: int
    message: str
    detail: str = ""
    field: str = ""
    """The field of the body that is wrong, where it is one."""


# Codes that functions of sql/ return. A code is never reused for another meaning.
SQL_RESULTS = {
    "ok": Result(200, "Reservation completed successfully."),
    "already_reserved": Result(200, "Reservation completed successfully."),
    "already_exists": Result(200, "It exists already."),
    "created": Result(201, "Created."),
    "replayed": Result(200, "This was answered before."),
    "reservation_closed": Result(
        409,
        "Reservation is closed.",
        "Reservation {reservation_id} is resolved and holds nothing any more.",
    ),
    "already_committed": Result(200, "Reservation was committed before."),
    "already_released": Result(200, "Reservation was released before."),
    "no_expiry": Result(
        409, "Reservation has no expiry.", "Reservation {reservation_id} never lapses."
    ),
    "held_by_order": Result(
        409,
        "Reservation belongs to an order.",
        "Only the order that holds {reservation_id} may resolve it.",
    ),
    "reservation_id_reused": Result(
        409,
        "Reservation id is already used.",
        "Reservation {reservation_id} exists with other lines, of another kind or lifetime.",
    ),
    "lifetime_too_long": Result(
        422,
        "Lifetime is too long.",
        "A hold may live for {longest_seconds} seconds here.",
        "ttl_seconds",
    ),
    "insufficient_stock": Result(
        409,
        "Not enough stock available.",
        "{quantity} of product {product_id} requested, {available} available.",
    ),
    "not_for_sale": Result(
        409, "Product is not for sale.", "Product {product_id} has no price yet."
    ),
    "insufficient_funds": Result(
        402,
        "Not enough money.",
        "{total} minor units needed, account {account_id} has {balance}.",
    ),
    "unknown_product": Result(404, "Unknown product.", "The store has no product {product_id}."),
    "unknown_store": Result(404, "Unknown store.", "There is no store {store_id}."),
    "unknown_reservation": Result(
        404, "Unknown reservation.", "The store has no reservation {reservation_id}."
    ),
    "unknown_account": Result(404, "Unknown account.", "The user has no account {account_id}."),
    "unknown_user": Result(404, "Unknown user.", "The store has no user {user_id}."),
    "already_created": Result(200, "Product was created before."),
    "product_id_reused": Result(
        409, "Product id is already used.", "Product {product_id} exists otherwise; change it."
    ),
    "unknown_category": Result(
        404, "Unknown category.", "The store has no category {category_id}."
    ),
    "category_id_reused": Result(
        409, "Category id is already used.", "Category {category_id} exists otherwise; change it."
    ),
    "category_circle": Result(
        409,
        "Category would be below itself.",
        "Category {category_id} is part of it, or it itself.",
    ),
    "category_not_empty": Result(
        409,
        "Category is not empty.",
        "Categories or products are part of {category_id}; move them first.",
    ),
    "already_paid": Result(200, "Payment was received before."),
    "transaction_id_reused": Result(
        409,
        "Transaction id is already used.",
        "Transaction {transaction_id} was of another user, bill or amount.",
    ),
    "bill_id_taken": Result(
        409, "Bill belongs to another user.", "Bill {bill_id} is not user {user_id}'s."
    ),
    "balance_too_large": Result(
        409, "Balance is too large.", "Bill {bill_id} cannot hold {amount} more."
    ),
    "several_lines": Result(
        409, "Reservation has several lines.", "Reservation {reservation_id} is no callback."
    ),
    "request_in_progress": Result(
        409,
        "Request is in progress.",
        "A request with the same Idempotency-Key is being answered; try again shortly.",
    ),
    "idempotency_key_reused": Result(
        422,
        "Idempotency key is already used.",
        "The same Idempotency-Key came with another path or body before.",
    ),
    "already_settled": Result(200, "Message was delivered or skipped before."),
    "already_fired": Result(200, "Schedule has fired before."),
    "unknown_message": Result(404, "Unknown message.", "The store has no message {message_id}."),
    "unknown_hook": Result(404, "Unknown hook.", "The store has no hook {hook_id}."),
    "unknown_delivery": Result(
        404, "Unknown delivery.", "Hook {hook_id} has no delivery {delivery_id}."
    ),
    "hook_off": Result(409, "Hook is off.", "Switch hook {hook_id} on first."),
    "unknown_schedule": Result(404, "Unknown schedule.", "The store has no schedule {name}."),
    "lease_lost": Result(409, "Lease is lost.", "Another worker has taken the message since."),
    "not_dead": Result(409, "Message is no dead letter.", "It is waiting, or was delivered."),
    "not_due": Result(409, "Schedule is not due.", "It fires later, by the database's clock."),
    "too_many_items": Result(
        422, "Too many items.", "One document holds at most {most}; read pages: limit and after."
    ),
    "too_many_at_once": Result(
        422,
        "Too many at once.",
        "A call writes off at most {most} items; write them off in parts, by group_op.",
    ),
    "invalid_lines": Result(422, "Invalid lines.", "Nothing was written."),
    "already_activated": Result(200, "You can sign in."),
    "already_revoked": Result(200, "The key was revoked before."),
    "login_taken": Result(409, "Login is taken.", "There is a user {login}."),
    "unauthorized": Result(
        401, "Credentials required.", "Sign in, or send a key: Authorization: Bearer …."
    ),
    "wrong_credentials": Result(
        401, "Wrong credentials.", "No active user has this login and this password."
    ),
    "otp_required": Result(
        401, "Code required.", "Send the code that the authenticator shows now, as otp."
    ),
    "sign_in_again": Result(
        403, "Sign in again.", "This needs a password that was given within 15 minutes."
    ),
    "totp_active": Result(
        409, "Codes are in use.", "Remove the authenticator first: DELETE /users/me/totp."
    ),
    "already_enrolled": Result(200, "Codes are in use."),
    "unknown_totp": Result(404, "No authenticator.", "None was set up: POST /users/me/totp."),
    "wrong_code": Result(422, "Wrong code.", "The authenticator shows another one now."),
    "unknown_session": Result(404, "Unknown session.", "The user has no session {session_id}."),
    "already_ended": Result(200, "The session was over before."),
    "last_admin": Result(
        409, "Last admin.", "User {user_id} is the only one who can let others in; add one first."
    ),
    "unknown_link": Result(404, "Unknown link.", "It was used, has lapsed, or never was."),
    "unknown_key": Result(404, "Unknown key.", "The store has no key {key_id}."),
    "too_many_requests": Result(
        429, "Too many requests.", "Too many of late; wait {retry_after} seconds."
    ),
    "already_confirmed": Result(200, "Booking was confirmed before."),
    "already_declined": Result(200, "Booking was declined before."),
    "already_cancelled": Result(200, "Booking was cancelled before."),
    "already_seated": Result(200, "The guests were seated before."),
    "already_finished": Result(200, "Booking was finished before."),
    "already_no_show": Result(200, "It was written down before that nobody came."),
    "unknown_table": Result(404, "Unknown table.", "The restaurant has no table {table_id}."),
    "unknown_booking": Result(
        404, "Unknown booking.", "The restaurant has no booking {booking_id}."
    ),
    "already_requested": Result(200, "Booking was requested before."),
    "unknown_guest": Result(404, "Unknown guest.", "No guest has this e-mail or phone."),
    "not_needed": Result(409, "Mail is not needed.", "Nobody would read it any more."),
    "table_taken": Result(
        409, "Table is taken.", "Somebody else has table {table_id} at that time."
    ),
    "table_closed": Result(409, "Table is closed.", "Table {table_id} cannot be booked now."),
    "booking_closed": Result(
        409, "Booking has ended.", "Booking {booking_id} is {booking_status} already."
    ),
    "wrong_state": Result(
        409,
        "Booking is in another state.",
        "That cannot be done with booking {booking_id}, which is {booking_status}.",
    ),
    "unknown_order": Result(404, "Unknown order.", "The store has no order {order_id}."),
    "unknown_line": Result(
        404, "Unknown line.", "Order {order_id} has no line of product {product_id}."
    ),
    "order_id_reused": Result(
        409, "Order id is already used.", "Order {order_id} is of another client."
    ),
    "order_closed": Result(409, "Order is closed.", "Order {order_id} is {order_status}."),
    "order_expired": Result(
        409,
        "Order has expired.",
        "Order {order_id} holds nothing any more: take it up again by POST …/checkout.",
    ),
    "order_empty": Result(409, "Order is empty.", "Order {order_id} has no lines."),
    "order_not_paid": Result(409, "Order is not paid.", "Order {order_id} is {order_status}."),
    "refund_too_large": Result(
        409,
        "Refund is too large.",
        "Of product {product_id} {left_over} units are left to refund, not {quantity}.",
    ),
    "outside_rules": Result(
        422, "Outside the house rules.", "The rule that is broken: {rule}. See GET /bookings/rules."
    ),
    "contact_required": Result(
        422, "Contact required.", "Give an e-mail address or a phone number."
    ),
    "too_many_bookings": Result(
        429, "Too many bookings.", "As many wait for an answer as one guest may have."
    ),
    "invalid_request": Result(422, "Invalid request.", "A value is missing or out of range."),
}

# Codes that the service itself answers.
HTTP_RESULTS = {
    "bad_request": Result(400, "Bad request."),
    "malformed_json": Result(400, "Malformed JSON."),
    "bad_signature": Result(401, "Signature is not valid.", "Nothing was written."),
    "forbidden_origin": Result(
        403, "Origin not allowed.", "Pages of {origin} are not in HOLDFAST_CORS_ORIGINS."
    ),
    "forbidden_host": Result(
        403,
        "Host not allowed.",
        "Development answers to IP addresses, localhost, names without a dot, and "
        "HOLDFAST_PUBLIC_URL; not to {host}.",
    ),
    "forbidden": Result(403, "Not allowed.", "This is not for a {role}."),
    "not_found": Result(404, "Not found.", "There is nothing at this path."),
    "method_not_allowed": Result(405, "Method not allowed."),
    "expectation_failed": Result(
        417, "Expectation cannot be met.", "Expect: 100-continue is all that is understood."
    ),
    "request_timeout": Result(408, "Request took too long.", "The body did not arrive in time."),
    "body_too_large": Result(413, "Body too large.", "A body has at most 1 MiB."),
    "unsupported_media_type": Result(415, "Unsupported media type."),
    "invalid_body": Result(422, "Invalid body."),
    "invalid_query": Result(422, "Invalid query."),
    "invalid_path": Result(422, "Invalid path."),
    "invalid_header": Result(422, "Invalid header."),
    "common_password": Result(
        422, "Password is too common.", "Others would guess it; choose a longer one."
    ),
    "password_reused": Result(
        422, "Password is not new.", "It is the present one; choose another."
    ),
    "totp_required": Result(
        403, "Authenticator required.", "Set one up first: POST /users/me/totp."
    ),
    "out_of_range": Result(422, "Number out of range.", "A sum grew too large; nothing was done."),
    "internal_error": Result(500, "Internal error.", "This is a defect; it has been logged."),
    "overloaded": Result(503, "Service is overloaded.", "Nothing was done; try again shortly."),
    "conflict": Result(503, "Too many conflicts.", "Nothing was done; try again shortly."),
    "database_busy": Result(
        503, "Database is busy.", "Others held what is needed for too long; nothing was done."
    ),
    "database_timeout": Result(
        503, "Database took too long.", "It was stopped before it had an answer; nothing was done."
    ),
    "database_unavailable": Result(
        503, "Database is unavailable.", "Nothing was done; try again shortly."
    ),
    "outcome_unknown": Result(
        503,
        "Outcome unknown.",
        "The connection was lost after sending: it may have been done. Repeat with the same id"
        " or Idempotency-Key: it happens once. Without either, look before you repeat.",
    ),
    "shutting_down": Result(503, "Service is shutting down."),
}

RESULTS = SQL_RESULTS | HTTP_RESULTS


class Refusal(Exception):
    """A request that is answered with an error, and what to say about it."""

    def __init__(self, code: str, detail: str = "", **fields: Any) -> None:
        super().__init__(code)
        self.code, self.detail, self.fields = code, detail, fields


class _Gaps(dict[str, Any]):
    """A detail names only what the request has; a gap shows as a question mark."""

    def __missing__(self, key: str) -> Any:
        # What is a product everywhere else is an item where stores are read and changed.
        return self.get("item_id", "?") if key == "product_id" else "?"


def is_error(code: str) -> bool:
    """Whether a code is answered with the error shape."""
    return RESULTS[code].status >= 400


def check(row: Any, **ids: Any) -> None:
    """Let what a function answered pass, or refuse with its code, the ids and its facts."""
    if is_error(row.result_code):
        document = getattr(row, "document", None)
        raise Refusal(row.result_code, **ids | (json.loads(document) if document else {}))


def error_body(code: str, detail: str = "", **fields: Any) -> dict[str, Any]:
    """The one error shape: status, code, message, detail, and the ids concerned."""
    result = RESULTS[code]
    detail = detail or result.detail.format_map(_Gaps(fields))
    if result.field:
        fields["errors"] = [{"field": result.field, "message": detail}]
    return {
        "status": "error",
        "code": code,
        "message": result.message,
        "detail": detail,
        **fields,
    }
