"""Delivery: how messages of the outbox leave the house, one module per channel.

A channel takes a message and returns once it is delivered. What it raises says what is next.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import TextClause, text

from service.database.pool import Database
from service.jobs import Find, found_by

FIND_DUE_MESSAGES = text("SELECT * FROM find_due_messages(:channel)")
SETTLE_MESSAGE = text(
    "SELECT * FROM settle_message("
    ":store_id, :message_id, :attempt, :outcome, :reply_code, :error, :wait)"
)

Payload = dict[str, Any]


class Message(NamedTuple):
    """A message of the outbox that a worker has taken."""

    store_id: str
    target: str
    """As in outbox.target."""
    message_id: int
    payload: Payload
    created_at: datetime


class Receipt(NamedTuple):
    """What became of a message that was delivered."""

    reply_code: int | None = None
    """Of the other side, by HTTP or SMTP."""
    parts: Sequence[Payload] = ()
    """Messages to send in its place: what fails then is tried again by itself."""


class NotDelivered(Exception):
    """It was not delivered this time; it is tried again, ever later, until it is given up."""

    outcome = "failed"
    """As settle_message knows it."""

    def __init__(self, reason: str, reply_code: int | None = None) -> None:
        super().__init__(reason)
        self.reply_code = reply_code


class Undeliverable(NotDelivered):
    """No other attempt could deliver it: it becomes a dead letter."""

    outcome = "refused"


class Skipped(NotDelivered):
    """Nobody needs it any more, such as a reminder of what is past: it ends here, and is none."""

    outcome = "skipped"


class Postponed(NotDelivered):
    """The other side takes nothing more for the time being."""

    def __init__(self, reason: str, seconds: float, reply_code: int | None = None) -> None:
        super().__init__(reason, reply_code)
        self.seconds = seconds


class Channel(ABC):
    """One way to deliver."""

    name: ClassVar[str]
    """As in outbox.channel."""
    concurrency: ClassVar[int] = 1
    """How many messages to one target of a store are sent at once; 1 keeps their order."""
    seconds: ClassVar[float] = 60.0
    """What one delivery may take."""
    targets_at_once: ClassVar[int] = 4
    """For how many stores, or targets of stores, messages are sent at a time."""
    rests_as_one: ClassVar[bool] = True
    """Whether, when one message is Postponed, none is sent meanwhile; else none to its target."""
    settle: ClassVar[TextClause] = SETTLE_MESSAGE
    """Writes down how an attempt went."""

    @property
    def find(self) -> Find:
        """Finds the stores, or their targets, that something is due for."""
        return found_by(FIND_DUE_MESSAGES, channel=self.name)

    @abstractmethod
    async def deliver(self, message: Message, database: Database) -> Receipt:
        """Deliver a message. What it raises that is not NotDelivered counts as that."""

    def settled(self, message: Message, document: Payload) -> None:
        """Told what the database made of an attempt."""
        return

    async def close(self) -> None:
        """Let connections go."""
        return
