"""hooks: whom a store tells of events, and what became of it."""

import argparse
import json
import sys
from typing import Any

import msgspec

from service import results
from service.commands import Commands
from service.commands.user import call_as_owner, refuse
from service.database.urls import owner_url
from service.delivery.addresses import ForbiddenAddress
from service.delivery.webhook import guard_of
from service.domains.webhooks import NewHook, check_url, new_secret
from service.settings import Settings
from service.web.bodies import MAX_BIGINT, parse_custom

LIST_HOOKS = "SELECT * FROM list_hooks($1, NULL, 1000)"
CREATE_HOOK = "SELECT * FROM create_hook($1, $2, $3, $4, NULL)"
ROTATE_HOOK_SECRET = "SELECT * FROM rotate_hook_secret($1, $2, $3, NULL)"  # noqa: S105
REMOVE_HOOK = "SELECT * FROM remove_hook($1, $2, NULL)"
LIST_DELIVERIES = "SELECT * FROM list_deliveries($1, $2, NULL, $3)"
RESEND_DELIVERY = "SELECT * FROM resend_delivery($1, $2, $3, NULL)"

REFUSED = 2
LOGGED = (
    "created_at", "event_id", "type", "status", "attempts", "reply_code", "due_at", "ended_at",
    "last_error",
)  # fmt: skip


def add(commands: Commands) -> None:
    """Tell the command line of it."""
    says = "whom webhooks tell of events: add, list, log, resend, rotate, remove"
    parser = commands.add_parser("hooks", help=says)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    make = verbs.add_parser("add", help="tell a URL of events from now on; prints its secret, once")
    make.add_argument("url", metavar="URL")
    make.add_argument("--events", metavar="TYPE,TYPE", help="such as stock.low; default: all")
    make.set_defaults(run=run_add)
    show = verbs.add_parser("list", help="whom events are told to, and whether that works")
    show.set_defaults(run=run_list)
    log = verbs.add_parser("log", help="what a target was told, newest first")
    log.add_argument("--limit", type=int, default=20, choices=range(1, 1001), metavar="COUNT")
    log.set_defaults(run=run_log)
    resend = verbs.add_parser("resend", help="try deliveries to a target at once")
    resend.set_defaults(run=run_resend)
    rotate = verbs.add_parser(
        "rotate", help="make a new secret; the old one is good for a day more"
    )
    rotate.set_defaults(run=run_rotate)
    remove = verbs.add_parser("remove", help="tell a target nothing any more")
    remove.set_defaults(run=run_remove)
    for verb in (log, resend, rotate, remove):
        verb.add_argument("hook_id", metavar="HOOK_ID", type=number)
    resend.add_argument("deliveries", nargs="+", metavar="DELIVERY_ID", type=number)
    for verb in (make, show, log, resend, rotate, remove):
        verb.add_argument("--store", help="default: HOLDFAST_STORE")


def number(written: str) -> int:
    """An id that the database made; ValueError when it is none."""
    return min(int(written), MAX_BIGINT)


async def run_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """A new target."""
    given = {"url": arguments.url, "events": arguments.events and arguments.events.split(",")}
    try:
        hook = msgspec.convert(given, NewHook, dec_hook=parse_custom)
        check_url(guard_of(settings), hook.url)
    except (msgspec.ValidationError, ForbiddenAddress) as error:
        print(f"holdfast: {error}", file=sys.stderr)
        return REFUSED
    secret = new_secret()
    status, document = await _call(settings, arguments, CREATE_HOOK, hook.url, hook.events, secret)
    if document:
        print(f"Hook {document['hook_id']} of {_store(settings, arguments)}: {hook.url}")
        print(f"Its secret, not shown again: {secret}")
    return status


async def run_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """All of a store."""
    status, document = await _call(settings, arguments, LIST_HOOKS)
    for hook in document.get("hooks", ()):
        state = "failing since {failing_since}" if hook["failing_since"] else "good"
        if not hook["is_active"]:
            state = "off since {off_at}: {off_reason}"
        events = ",".join(hook["events"] or ["all events"])
        print(f"{hook['hook_id']}  {hook['url']}  {events}  {state.format_map(hook)}")
    if document:
        print(f"{len(document['hooks'])} hooks of {_store(settings, arguments)}.")
    return status


async def run_log(settings: Settings, arguments: argparse.Namespace) -> int:
    """One line per delivery."""
    ids = arguments.hook_id, arguments.limit
    status, document = await _call(settings, arguments, LIST_DELIVERIES, *ids)
    for each in document.get("deliveries", ()):
        told = (f"{name}={each[name]}" for name in LOGGED if each[name] is not None)
        print(each["delivery_id"], *told, sep="  ")
    if document:
        print(f"{len(document['deliveries'])} deliveries, newest first. Times are in UTC.")
    return status


async def run_resend(settings: Settings, arguments: argparse.Namespace) -> int:
    """Each delivery for itself; 2 if one is refused."""
    worst = 0
    for delivery_id in arguments.deliveries:
        ids = arguments.hook_id, delivery_id
        status, document = await _call(settings, arguments, RESEND_DELIVERY, *ids)
        if document:
            print(f"{delivery_id}: sent again as {document['delivery_id']}, at once")
        worst = max(worst, status)
    return worst


async def run_rotate(settings: Settings, arguments: argparse.Namespace) -> int:
    """A new secret."""
    ids = arguments.hook_id, new_secret()
    status, document = await _call(settings, arguments, ROTATE_HOOK_SECRET, *ids)
    if document:
        print(f"The new secret, not shown again: {document['secret']}")
        print(f"The one before signs along until {document['old_secret_until']}.")
    return status


async def run_remove(settings: Settings, arguments: argparse.Namespace) -> int:
    """Nothing more is told."""
    status, document = await _call(settings, arguments, REMOVE_HOOK, arguments.hook_id)
    if document:
        print(f"Hook {document['hook_id']} is gone; {document['skipped']} deliveries are not made.")
    return status


async def _call(
    settings: Settings, arguments: argparse.Namespace, query: str, *rest: Any
) -> tuple[int, dict[str, Any]]:
    """The exit code and the document of a function of the store; a refusal is told."""
    store_id = _store(settings, arguments)
    async with owner_url(settings) as dsn:
        row = await call_as_owner(dsn, query, store_id, *rest)
    if results.is_error(row["result_code"]):
        ids = {"store_id": store_id, "hook_id": getattr(arguments, "hook_id", None)}
        return refuse(row, **ids, delivery_id=rest[1] if query == RESEND_DELIVERY else None), {}
    return 0, json.loads(row["document"])


def _store(settings: Settings, arguments: argparse.Namespace) -> str:
    return arguments.store or settings.store
