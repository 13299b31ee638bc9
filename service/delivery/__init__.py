"""Delivery: how messages of the outbox leave the house, one module per channel.

A channel takes a message and returns once it is delivered. What it raises says what is next.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from service.settings import Settings

Payload = dict[str, Any]


class Message(NamedTuple):
    """A message of the outbox that a worker has taken."""

    store_id: str
    message_id: int
    attempt: int
    """How often it was taken, this time included; it proves that it is still ours."""
    payload: Payload


class Undeliverable(Exception):
    """No other attempt could deliver it: it becomes a dead letter."""


class Postponed(Exception):
    """The other side takes nothing more for the time being."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Channel(Protocol):
    """One way to deliver."""

    name: str
    """As in outbox.channel."""
    concurrency: int
    """How many messages of one store are sent at once; 1 keeps their order."""

    async def deliver(self, message: Message) -> Sequence[Payload]:
        """Deliver a message, or return those to send in its place.

        Raises Undeliverable or Postponed; whatever else it raises means: try again, ever later.
        """

    async def close(self) -> None:
        """Let connections go."""


def open_channels(settings: Settings, dsn: str) -> list[Channel]:
    """The channels that the settings configure; only their modules are imported."""
    channels: list[Channel] = []
    if settings.telegram_bot_token:
        from service.delivery.telegram import Telegram

        channels.append(Telegram(settings, dsn))
    return channels
