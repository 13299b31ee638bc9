"""The outbox's jobs: deliver what is due, one job per channel, and forget what is long settled.

A message is leased, delivered, settled. Whoever is killed between loses the lease, and the message
is delivered again: at least once.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, TextClause, text

from service.database.pool import Database
from service.delivery import (
    Channel,
    Message,
    NotDelivered,
    Payload,
    Postponed,
    Receipt,
    Skipped,
)
from service.jobs import Found, Job, done_by, found_by
from service.results import Refusal, is_error
from service.settings import Settings

LEASE_MESSAGES = text("SELECT * FROM lease_messages(:store_id, :channel, :target, :limit, :lease)")
SPLIT_MESSAGE = text(
    "SELECT * FROM split_message(:store_id, :message_id, :attempt, CAST(:payloads AS jsonb))"
)
FIND_OLD_MESSAGES = text("SELECT * FROM find_old_messages(:keep)")
FORGET_MESSAGES = text(
    "SELECT result_code, CAST(document ->> 'done' AS int) AS done"
    " FROM forget_messages(:store_id, :keep, :limit)"
)

LEASE = timedelta(seconds=120)
"""Longer than a delivery may take, and what it takes to say how it went."""
SETTLE_PAUSE_SECONDS = 1.0
REST_SECONDS = 1.0
"""For a target that took nothing of a batch."""
KEEP = timedelta(days=30)
"""How long settled messages are kept."""
FORGET_EVERY = 60.0

logger = logging.getLogger("holdfast.worker")


class Leased(msgspec.Struct, frozen=True):
    """A message as lease_messages answers it."""

    message_id: int
    attempt: int
    payload: Payload
    created_at: datetime


LEASED = msgspec.json.Decoder(list[Leased])


def jobs(settings: Settings) -> list[Job]:
    """What the outbox needs, whatever the channels."""
    find, forget = found_by(FIND_OLD_MESSAGES, keep=KEEP), done_by(FORGET_MESSAGES, keep=KEEP)
    return [Job("forgetting of messages", find, forget, FORGET_EVERY)]


class Delivering:
    """The job of one channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._rests: dict[tuple[str, str] | None, float] = {}
        """Until when a target, or none at all, is sent anything."""
        name = f"delivery by {channel.name}"
        self.job = Job(name, self._find, self._deliver, at_once=channel.targets_at_once)

    async def _find(self, database: Database) -> Sequence[Found]:
        now = time.monotonic()
        self._rests = {key: until for key, until in self._rests.items() if until > now}
        if None in self._rests:
            return []
        found = await self._channel.find(database)
        return [each for each in found if each.key not in self._rests]

    async def _deliver(self, database: Database, found: Found) -> bool:
        """Send a target some of what is due; whether there was any that it need not have again."""
        row = await database.call(
            LEASE_MESSAGES,
            store_id=found.store_id,
            channel=self._channel.name,
            target=found.target,
            limit=self._channel.concurrency,
            lease=LEASE,
        )
        leased = LEASED.decode(row.document)
        attempts = (self._attempt(database, found, each) for each in leased)
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        if leased and not any(outcomes):
            self._rest(found.key, REST_SECONDS)
        return any(outcomes)

    async def _attempt(self, database: Database, found: Found, leased: Leased) -> bool:
        """Deliver a message and write down how it went; False if it is to be tried again."""
        message = Message(
            found.store_id, found.target, leased.message_id, leased.payload, leased.created_at
        )
        outcome = await self._outcome(database, message, leased.attempt)
        ids = {
            "store_id": message.store_id,
            "message_id": message.message_id,
            "attempt": leased.attempt,
        }
        if isinstance(outcome, Receipt) and outcome.parts:
            payloads = msgspec.json.encode(outcome.parts).decode()
            await _settle(database, SPLIT_MESSAGE, ids, payloads=payloads)
            return True
        facts = _facts(outcome)
        row = await _settle(database, self._channel.settle, ids, **facts)
        if not is_error(row.result_code) and row.document:
            self._channel.settled(message, msgspec.json.decode(row.document))
        return bool(facts["outcome"] != NotDelivered.outcome)

    async def _outcome(
        self, database: Database, message: Message, attempt: int
    ) -> Receipt | Exception:
        """Deliver a message; what came of it."""
        try:
            async with asyncio.timeout(self._channel.seconds):
                return await self._channel.deliver(message, database)
        except Exception as error:
            fields = {
                "channel": self._channel.name,
                "store_id": message.store_id,
                "message_id": message.message_id,
                "attempt": attempt,
                "error": _said(error),
            }
            level = logging.DEBUG if isinstance(error, Skipped) else logging.WARNING
            logger.log(level, "A message was not delivered", extra={"fields": fields})
            if isinstance(error, Postponed):
                target = (message.store_id, message.target)
                self._rest(None if self._channel.rests_as_one else target, error.seconds)
            return error

    def _rest(self, key: tuple[str, str] | None, seconds: float) -> None:
        self._rests[key] = max(time.monotonic() + seconds, self._rests.get(key, 0))


def _facts(outcome: Receipt | Exception) -> dict[str, Any]:
    """How an attempt went, as settle_message takes it."""
    if isinstance(outcome, Receipt):
        return {
            "outcome": "delivered", "reply_code": outcome.reply_code, "error": None, "wait": None
        }  # fmt: skip
    error = outcome if isinstance(outcome, NotDelivered) else NotDelivered(str(outcome))
    seconds = error.seconds if isinstance(error, Postponed) else 0
    return {
        "outcome": error.outcome,
        "reply_code": error.reply_code,
        "error": _said(outcome),
        "wait": timedelta(seconds=seconds),
    }


async def _settle(
    database: Database, statement: TextClause, ids: dict[str, Any], **facts: Any
) -> Row[Any]:
    """Write down how a delivery went, again and again while the database is away: what nobody
    knows to be delivered is delivered again.
    """
    async with asyncio.timeout(LEASE.total_seconds()):
        while True:
            try:
                row = await database.call(statement, **ids, **facts)
                break
            except Refusal:
                await asyncio.sleep(SETTLE_PAUSE_SECONDS)
    if is_error(row.result_code):
        logger.warning(
            "A delivery came too late", extra={"fields": ids | {"code": row.result_code}}
        )
    return row


def _said(error: Exception) -> str:
    """What an error says, as a text column can hold it."""
    said = f"{type(error).__name__}: {error}".rstrip(": ").replace("\0", "")
    return said[:1000].encode(errors="replace").decode()
