"""Webhooks: events posted to the targets that a store has for them, signed by Standard Webhooks.

A 2xx within ten seconds is success; 410 ends the target; whatever else is tried again. The answer
is not read beyond its status, and redirects are not followed.
"""

import logging
import re
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from sqlalchemy import TextClause, text
from standardwebhooks import Webhook as Signer

from service import __version__, results
from service.database.pool import Database
from service.delivery import (
    Channel,
    Message,
    NotDelivered,
    Payload,
    Postponed,
    Receipt,
    Skipped,
    Undeliverable,
)
from service.delivery.addresses import Guard, Lookup, Resolver
from service.jobs import Find, found_by
from service.settings import Settings

FIND_DUE_DELIVERIES = text("SELECT * FROM find_due_deliveries()")
READ_DELIVERY = text("SELECT * FROM read_delivery(:store_id, :hook_id, :message_id)")
SETTLE_DELIVERY = text(
    "SELECT * FROM settle_delivery("
    ":store_id, :message_id, :attempt, :outcome, :reply_code, :error, :wait)"
)

SECONDS = 10.0
"""For one request, from the name's look-up to the answer's status."""
LONGEST_WAIT = 3600.0
"""That a target may ask for by Retry-After."""
GONE = 410
BUSY = (429, 503)

logger = logging.getLogger("holdfast.webhooks")


class Delivery(msgspec.Struct, frozen=True):
    """What read_delivery answers."""

    url: str
    secrets: list[str]
    sent_at: int
    """Unix time, by the database's clock."""
    event_id: str
    type: str
    timestamp: str
    data: msgspec.Raw


class Body(msgspec.Struct, frozen=True):
    """What is posted."""

    type: str
    timestamp: str
    """When the event happened."""
    store_id: str
    data: msgspec.Raw


DELIVERY = msgspec.json.Decoder(Delivery)


def guard_of(settings: Settings) -> Guard:
    """Where webhooks may go: in development anywhere."""
    return Guard(is_open=settings.environment == "development", networks=settings.hook_targets)


class Webhook(Channel):
    """Posts to targets."""

    name = "webhook"
    concurrency: ClassVar[int] = 4
    seconds: ClassVar[float] = SECONDS + 5
    targets_at_once: ClassVar[int] = 64
    rests_as_one: ClassVar[bool] = False
    settle: ClassVar[TextClause] = SETTLE_DELIVERY

    def __init__(self, settings: Settings, lookup: Lookup | None = None) -> None:
        self._guard = guard_of(settings)
        self._resolver = Resolver(lookup)
        self._session: ClientSession | None = None

    @property
    def find(self) -> Find:
        """Finds targets that something is due for."""
        return found_by(FIND_DUE_DELIVERIES)

    async def deliver(self, message: Message, database: Database) -> Receipt:
        """Post an event to one target."""
        row = await database.read(
            READ_DELIVERY,
            store_id=message.store_id,
            hook_id=int(message.target),
            message_id=message.message_id,
        )
        if results.is_error(row.result_code):
            raise Skipped(results.RESULTS[row.result_code].message)
        delivery = DELIVERY.decode(row.document)
        body = msgspec.json.encode(
            Body(delivery.type, delivery.timestamp, message.store_id, delivery.data)
        )
        status, retry_after = await self._post(delivery, body)
        if 200 <= status < 300:
            return Receipt(status)
        reason = f"The target answered {status}."
        if status == GONE:
            raise Undeliverable(reason, status)
        if status in BUSY and retry_after:
            raise Postponed(reason, retry_after, status)
        raise NotDelivered(reason, status)

    async def _post(self, delivery: Delivery, body: bytes) -> tuple[int, float]:
        """Send a body; the status of the answer, and how long not to come again."""
        headers = signed_headers(delivery, body)
        try:
            async with self._open().post(
                delivery.url, data=body, headers=headers, allow_redirects=False
            ) as response:
                wait = response.headers.get("Retry-After", "")
                seconds = float(wait) if re.fullmatch("[0-9]{1,9}", wait) else 0.0
                return response.status, min(seconds, LONGEST_WAIT)
        except TimeoutError:
            raise NotDelivered(f"No answer within {SECONDS:.0f} s.") from None
        except (ClientError, OSError, ValueError) as error:
            raise NotDelivered(f"Not connected: {error or type(error).__name__}") from None

    def _open(self) -> ClientSession:
        """The client, made within the loop that uses it."""
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(
                    resolver=self._resolver,
                    socket_factory=self._guard.open_socket,
                    use_dns_cache=False,
                    limit=0,
                ),
                timeout=ClientTimeout(total=SECONDS),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                headers={"User-Agent": f"Holdfast/{__version__}"},
            )
        return self._session

    def settled(self, message: Message, document: Payload) -> None:
        """Say that a target is switched off."""
        if reason := document.get("off_reason"):
            fields = {"store_id": message.store_id, "hook_id": message.target, "reason": reason}
            logger.warning("A target of webhooks is switched off", extra={"fields": fields})

    async def close(self) -> None:
        """Let connections go."""
        if self._session:
            await self._session.close()
        await self._resolver.close()


def signed_headers(delivery: Delivery, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks: a signature by each secret."""
    sent_at = datetime.fromtimestamp(delivery.sent_at, UTC)
    signatures = [
        Signer(secret).sign(delivery.event_id, sent_at, body.decode())
        for secret in delivery.secrets
    ]
    return {
        "Content-Type": "application/json",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(delivery.sent_at),
        "webhook-signature": " ".join(signatures),
    }
