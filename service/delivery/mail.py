"""Mail: what guests and staff are told of a booking, by SMTP, at least once.

A row of the outbox names the booking. Name, address and the link are looked up when the mail is
sent, so that a guest who was forgotten meanwhile gets none, and no dump holds a working link. Its
Message-ID is the row's, the same at each try: mail servers and readers drop the second copy.
"""

import hashlib
import re
import secrets
import ssl
from datetime import UTC, datetime, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit
from zoneinfo import ZoneInfo

import aiosmtplib
import msgspec
from icalendar import Calendar, Event, vCalAddress, vText
from sqlalchemy import text

from service.database.pool import Database
from service.delivery import Channel, Message, NotDelivered, Receipt, Skipped, Undeliverable
from service.guest_pages import Pages, Words, zone_of
from service.results import is_error
from service.settings import Settings

PREPARE_BOOKING_MAIL = text(
    "SELECT * FROM prepare_booking_mail(:store_id, :booking_id, :to, :mail, :version, :token_hash,"
    " CAST(:defaults AS jsonb))"
)
CANCEL_PATH = "/api/v1/stores/{store_id}/bookings/cancel?token={token}"
SMTP_SECONDS = 20.0
"""For each answer of the mail server."""
PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
METHODS = {"confirmed": "REQUEST", "moved": "REQUEST", "cancelled": "CANCEL"}
"""Of the calendar entry that goes with a mail (RFC 5546)."""


class Booking(msgspec.Struct, frozen=True):
    """What a mail says of its booking."""

    booking_id: int
    status: str
    table_id: int
    starts_at: datetime
    ends_at: datetime | None
    guests: int
    version: int
    name: str | None
    email: str | None
    phone: str | None
    language: str | None
    time_zone: str
    restaurant: str
    utc_offset: int = 0
    """Of the zone's clocks at the start, in seconds, for who does not know the zone."""

    @property
    def zone(self) -> tzinfo:
        """The restaurant's clocks."""
        return zone_of(self.time_zone, self.utc_offset)


class Relay(NamedTuple):
    """The mail server, from HOLDFAST_SMTP_URL."""

    host: str
    port: int
    login: str | None
    password: str | None
    is_tls: bool
    is_starttls: bool


def relay_of(url: str) -> Relay:
    """The server of smtp://, smtp+starttls:// or smtps://login:password@host:port."""
    parts = urlsplit(url)
    return Relay(
        host=parts.hostname or "localhost",
        port=parts.port or PORTS[parts.scheme],
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        is_tls=parts.scheme == "smtps",
        is_starttls=parts.scheme == "smtp+starttls",
    )


class Mail(Channel):
    """SMTP. Payloads: to (guest or staff), mail (which one), booking_id, version."""

    name = "mail"
    concurrency = 4

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pages = Pages(settings.templates_dir, settings.language)
        self._relay = relay_of(settings.smtp_url) if settings.smtp_url else None

    async def deliver(self, message: Message, database: Database) -> Receipt:
        """Look up what the mail says, write it, hand it to the mail server."""
        if self._relay is None:
            raise Skipped("HOLDFAST_SMTP_URL is not set")
        payload, token = message.payload, secrets.token_urlsafe(32)
        is_for_staff = payload["to"] == "staff"
        if is_for_staff and not self._settings.mail_staff:
            raise Skipped("HOLDFAST_MAIL_STAFF is empty")
        row = await database.call(
            PREPARE_BOOKING_MAIL,
            store_id=message.store_id,
            **payload,
            token_hash=hashlib.sha256(token.encode()).digest(),
            defaults=self._settings.booking_defaults,
        )
        if is_error(row.result_code):
            raise Skipped(msgspec.json.decode(row.document)["why"])
        booking = msgspec.json.decode(row.document, type=Booking)
        link = None if is_for_staff else self._link(message.store_id, booking, token)
        return await self._send(self._relay, self._write(message, booking, link))

    def _link(self, store_id: str, booking: Booking, token: str) -> str | None:
        """Where the guest may still cancel."""
        if booking.status not in ("pending", "confirmed"):
            return None
        path = CANCEL_PATH.format(store_id=quote(store_id, safe=""), token=token)
        return self._settings.link_base + path

    def _write(self, message: Message, booking: Booking, link: str | None) -> EmailMessage:
        """The whole mail: text, HTML and, where the guest's calendar needs to know, an entry."""
        is_for_staff, kind = message.payload["to"] == "staff", message.payload["mail"]
        words = self._pages.words(None if is_for_staff else booking.language)
        said = words["staff" if is_for_staff else "mails"][kind]
        facts = {
            "words": words,
            "booking": booking,
            "for_staff": is_for_staff,
            "subject": said["subject"],
            "text": said["text"],
            "day": words.day(booking.starts_at, booking.zone),
            "hours": words.hours(booking.starts_at, booking.ends_at, booking.zone),
            "link": link,
        }
        mail = EmailMessage(policy=SMTP)
        mail["Subject"] = f"{said['subject']} - {_one_line(booking.restaurant)}"
        mail["From"] = self._sender
        mail["To"] = self._receivers(booking, is_for_staff)
        mail["Date"] = message.created_at
        mail["Message-ID"] = self._message_id(message)
        mail["Auto-Submitted"] = "auto-generated"
        mail["Content-Language"] = words.language
        mail.set_content(self._pages.render("mail.txt", **facts))
        mail.add_alternative(self._pages.render("mail.html", **facts), subtype="html")
        if not is_for_staff and kind in METHODS:
            self._attach_entry(mail, message, booking, words, METHODS[kind])
        return mail

    @property
    def _sender(self) -> Address:
        name, address = parseaddr(self._settings.mail_from)
        return Address(display_name=name, addr_spec=address)

    def _receivers(self, booking: Booking, is_for_staff: bool) -> list[Address]:
        if is_for_staff:
            return [Address(addr_spec=each) for each in self._settings.mail_staff.split()]
        assert booking.email
        return [Address(display_name=_one_line(booking.name or ""), addr_spec=booking.email)]

    def _message_id(self, message: Message) -> str:
        store = hashlib.sha256(message.store_id.encode()).hexdigest()[:12]
        return f"<booking.{message.message_id}.{store}@{self._sender.domain}>"

    def _attach_entry(
        self, mail: EmailMessage, message: Message, booking: Booking, words: Words, method: str
    ) -> None:
        """The visit for the guest's calendar (RFC 5545), in the restaurant's time zone."""
        entry = calendar_entry(
            message.store_id, booking, words, method, self._sender.addr_spec, message.created_at
        )
        mail.add_attachment(
            entry,
            maintype="text",
            subtype="calendar",
            params={"method": method, "charset": "utf-8"},
            filename="booking.ics",
        )

    async def _send(self, relay: Relay, mail: EmailMessage) -> Receipt:
        """Hand it over: 4xx and whatever keeps us from the server is tried again, 5xx is not."""
        try:
            await aiosmtplib.send(
                mail,
                hostname=relay.host,
                port=relay.port,
                username=relay.login,
                password=relay.password,
                use_tls=relay.is_tls,
                start_tls=relay.is_starttls,
                tls_context=ssl.create_default_context(),
                timeout=SMTP_SECONDS,
            )
        except aiosmtplib.SMTPAuthenticationError as error:  # ours to mend, not the mail's fault
            raise NotDelivered(f"The mail server refuses our login: {error}", error.code) from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            worst = min(refused.code for refused in error.recipients)
            said = "; ".join(refused.message for refused in error.recipients)
            raise _refused(worst, _without_receivers(said, mail)) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error.code, _without_receivers(str(error), mail)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            why = error.__cause__ or error
            raise NotDelivered(f"The mail server is not to be had: {why!r}") from error
        return Receipt(250)


def calendar_entry(
    store_id: str, booking: Booking, words: Words, method: str, organizer: str, made_at: datetime
) -> bytes:
    """An iCalendar object of one event, with its time zone; in UTC where Python knows none."""
    zone = booking.zone if isinstance(booking.zone, ZoneInfo) else UTC
    event = Event()
    event.add("uid", f"{booking.booking_id}.{store_id}@holdfast")
    event.add("sequence", booking.version)
    event.add("dtstamp", made_at)
    event.add("dtstart", booking.starts_at.astimezone(zone))
    if booking.ends_at:
        event.add("dtend", booking.ends_at.astimezone(zone))
    event.add("summary", vText(f"{booking.restaurant}, {words.guests(booking.guests)}"))
    said = "TENTATIVE" if booking.status == "pending" else "CONFIRMED"
    event.add("status", "CANCELLED" if method == "CANCEL" else said)
    event["organizer"] = vCalAddress(f"mailto:{organizer}")
    if booking.email:
        event.add("attendee", vCalAddress(f"mailto:{booking.email}"))
    calendar = Calendar()
    calendar.add("prodid", "-//Holdfast//EN")
    calendar.add("version", "2.0")
    calendar.add("method", method)
    calendar.add_component(event)
    calendar.add_missing_timezones()
    return bytes(calendar.to_ical())


def _refused(code: int, said: str) -> NotDelivered:
    return (NotDelivered if code < 500 else Undeliverable)(said, code)


def _without_receivers(said: str, mail: EmailMessage) -> str:
    """What a mail server says, without the addresses that it repeats: it is kept and logged, where
    forgetting a guest does not reach.
    """
    for receiver in mail["To"].addresses:
        said = re.sub(re.escape(receiver.addr_spec), "the receiver", said, flags=re.IGNORECASE)
    return said


def _one_line(text: str) -> str:
    """What somebody else has written, as a header can hold it."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())
