"""Mails of bookings: written by the worker, sent to a real SMTP server."""

import asyncio
import re
import signal
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme
from icalendar import Calendar
from msgspec import structs

from service.delivery.mail import Booking, calendar_entry, relay_of
from service.guest_pages import Pages
from service.settings import SettingsError, read_settings
from tests.support.aliases import Run
from tests.support.bookings import Restaurant, at
from tests.support.processes import Start
from tests.support.smtp import MailServer, mail_server
from tests.support.waits import becomes

FROM = {"mail_from": "Harbour <bookings@harbour.example>"}


def settings_of(server: MailServer, **more: Any) -> dict[str, Any]:
    return {"smtp_url": f"smtp://127.0.0.1:{server.port}", **FROM, **more}


def part(mail: EmailMessage, kind: str) -> str:
    found = [each for each in mail.walk() if each.get_content_type() == kind]
    assert len(found) == 1, kind
    content = found[0].get_content()
    return content.decode() if isinstance(content, bytes) else str(content)


async def settled(house: Restaurant) -> None:
    """Until no mail waits that is due now."""

    async def nothing_waits() -> bool:
        waiting = "SELECT NOT EXISTS (SELECT FROM outbox WHERE channel = 'mail' AND is_waiting)"
        return bool(await house.sql.fetchval(waiting))

    await becomes(nothing_waits)


async def test_a_request_is_acknowledged_with_a_link_that_cancels(
    house: Restaurant, working: Run
) -> None:
    await house.sql.execute("UPDATE stores SET name = 'Harbour & Sons'")
    async with mail_server() as server:
        async with working(**settings_of(server, mail_staff="boss@harbour.example")):
            table_id = await house.table()
            booking_id = await house.asked(
                table_id, at(19), at(21), name="Ann <Ö>", email="ann@example.org", guests=4
            )
            mails = await server.gets(2)
            await settled(house)
    (guest,) = [mail for mail in mails if "ann@example.org" in mail["To"]]
    (staff,) = [mail for mail in mails if "boss@harbour.example" in mail["To"]]
    assert guest["Subject"] == "Your request is with us - Harbour & Sons"
    assert guest["From"] == "Harbour <bookings@harbour.example>"
    assert guest["To"].addresses[0].display_name == "Ann <Ö>"
    assert guest["Auto-Submitted"] == "auto-generated"
    for kind in ("text/plain", "text/html"):
        assert "for 4 guests" in part(guest, kind)
    assert "Ann &lt;Ö&gt;" in part(guest, "text/html")
    assert "ann@example.org" in part(staff, "text/plain")
    assert "/cancel?token=" not in part(staff, "text/plain")
    link = re.search(r"http\S+/cancel\?token=\S+", part(guest, "text/plain"))
    assert link
    assert link[0] in part(guest, "text/html")
    path = "/bookings/cancel" + link[0].partition("/cancel")[2]
    response = await house.api.post("/api/v1" + path)
    assert response.status == 200
    _, booking = await house.as_staff("GET", f"/bookings/{booking_id}")
    assert booking["status"] == "cancelled"
    token = link[0].partition("token=")[2]
    dump = await house.sql.fetch("SELECT row_to_json(l)::text FROM booking_links AS l")
    assert not [row for row in dump if token in row[0]]


async def test_confirmed_moved_and_cancelled_carry_calendar_entries(
    house: Restaurant, working: Run
) -> None:
    await house.rules(time_zone="Europe/Berlin")
    async with mail_server() as server, working(**settings_of(server)):
        booking_id = await house.asked(await house.table(), at(19), at(21))
        await server.gets(1)
        for count, (verb, body) in enumerate(
            [("confirm", {}), ("move", {"starts_at": at(20).isoformat()}), ("cancel", {})], 2
        ):
            assert (await house.do(verb, booking_id, **body))[0] == 200
            await server.gets(count)
    entries: list[Any] = [
        Calendar.from_ical(part(mail, "text/calendar")) for mail in server.mails[1:]
    ]
    assert [str(entry["method"]) for entry in entries] == ["REQUEST", "REQUEST", "CANCEL"]
    events = [entry.walk("VEVENT")[0] for entry in entries]
    assert {str(event["uid"]) for event in events} == {f"{booking_id}.main@holdfast"}
    assert [int(event["sequence"]) for event in events] == [2, 3, 4]
    assert [event["dtstart"].dt for event in events] == [at(19), at(20), at(20)]
    assert all(entry.walk("VTIMEZONE") for entry in entries)
    assert events[0]["dtstart"].params["TZID"] == "Europe/Berlin"
    methods = [mail.get_body(("plain",)) is not None for mail in server.mails]
    assert all(methods)


def test_what_is_pending_is_tentative_in_a_calendar() -> None:
    booking = Booking(
        *(1, "pending", 2, at(19), at(21), 2, 3, "Ann", "ann@example.org", None, None, "UTC"),
        "Harbour",
    )
    for status, said in (("pending", "TENTATIVE"), ("confirmed", "CONFIRMED")):
        entry = calendar_entry(
            *("main", structs.replace(booking, status=status), Pages().words(None), "REQUEST"),
            *("house@example.org", at(1)),
        )
        assert str(Calendar.from_ical(entry).walk("VEVENT")[0]["status"]) == said


async def test_good_news_that_comes_after_the_end_is_not_sent(house: Restaurant) -> None:
    booking_id = await house.in_state(await house.table(), "confirmed", at(19), at(21))
    prepare = (
        "SELECT result_code FROM prepare_booking_mail('main', $1, 'guest', $2::text, 2,"
        " sha256(convert_to($2::text, 'UTF8')), '{}')"
    )
    assert await house.sql.fetchval(prepare, booking_id, "confirmed") == "ok"
    await house.do("cancel", booking_id)
    for mail, code in (
        ("received", "not_needed"),
        ("confirmed", "not_needed"),
        ("moved", "not_needed"),
        ("cancelled", "ok"),
    ):
        assert await house.sql.fetchval(prepare, booking_id, mail) == code


async def test_each_guest_reads_their_own_language_and_a_house_has_its_words(
    house: Restaurant, working: Run, tmp_path: Path
) -> None:
    (tmp_path / "mail.txt").write_text("{{ subject }} at our place")
    async with mail_server() as server:
        async with working(**settings_of(server, templates_dir=tmp_path)):
            table_id = await house.table()
            await house.asked(table_id, at(19), at(21), language="ru", guests=2)
            (mail,) = await server.gets(1)
    assert str(mail["Subject"]).startswith("Мы получили ваш запрос")
    assert "на 2 гостей" in part(mail, "text/html")
    assert part(mail, "text/plain").strip() == "Мы получили ваш запрос at our place"


async def test_a_booking_is_made_while_mail_is_down_and_its_mail_comes_later_once(
    house: Restaurant, working: Run
) -> None:
    async with mail_server() as server:
        url, port = settings_of(server), server.port
    async with working(**url):
        await house.asked(await house.table(), at(19), at(21))

        async def was_tried() -> bool:
            return bool(
                await house.sql.fetchval("SELECT attempts FROM outbox WHERE channel='mail'")
            )

        await becomes(was_tried)
        async with mail_server(port=port) as server:
            await house.sql.execute("UPDATE outbox SET due_at = now() WHERE channel = 'mail'")
            await server.gets(1)
            await settled(house)
            assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("answer", "is_dead"), [("451 try later", False), ("550 no such mailbox", True)]
)
async def test_4xx_is_tried_again_and_5xx_is_a_dead_letter(
    house: Restaurant, working: Run, answer: str, is_dead: bool
) -> None:
    async with mail_server() as server, working(**settings_of(server)):
        server.answers = [answer]
        await house.asked(await house.table(), at(19), at(21))

        async def outcome() -> Any:
            return await house.sql.fetchrow(
                "SELECT reply_code, dead_at IS NOT NULL AS is_dead FROM outbox"
                " WHERE channel = 'mail' AND payload ->> 'to' = 'guest' AND reply_code IS NOT NULL"
            )

        row = await becomes(outcome)
        assert tuple(row) == (int(answer[:3]), is_dead)
        if not is_dead:
            await house.sql.execute("UPDATE outbox SET due_at = now() WHERE channel = 'mail'")
            await server.gets(1)


@pytest.mark.parametrize("answer", ["550 5.1.1 <{}> is no user", "451 greylisted: {}"])
async def test_what_a_mail_server_says_is_kept_without_the_guests_address(
    house: Restaurant, working: Run, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    address = "Ann.O+x@example.org"
    async with mail_server() as server, working(**settings_of(server)):
        server.answers = [answer.format(address.lower())]
        await house.asked(await house.table(), at(19), at(21), email=address)
        error = "SELECT max(last_error) FROM outbox WHERE payload ->> 'to' = 'guest'"
        said = await becomes(lambda: house.sql.fetchval(error))
    assert "the receiver" in said
    dump = await house.sql.fetch("SELECT row_to_json(o)::text AS row FROM outbox AS o")
    assert "example.org" not in "".join(row["row"] for row in dump) + caplog.text


async def test_a_mail_that_is_sent_twice_has_the_same_id(house: Restaurant, working: Run) -> None:
    async with mail_server() as server, working(**settings_of(server)):
        await house.asked(await house.table(), at(19), at(21))
        await server.gets(1)
        await settled(house)
        await house.sql.execute(
            "UPDATE outbox SET delivered_at = NULL, due_at = now() WHERE channel = 'mail'"
        )
        first, second = await server.gets(2)
    assert first["Message-ID"] == second["Message-ID"]
    assert str(first["Message-ID"]).endswith("@harbour.example>")


async def test_nobody_is_written_to_needlessly(house: Restaurant, working: Run) -> None:
    await house.rules(reminder_hours=1)
    table_id = await house.table()
    await house.asked(table_id, at(10), at(11), phone="555 1234")
    reminded = await house.in_state(table_id, "confirmed", at(12), at(13))
    await house.do("move", reminded, starts_at=at(14).isoformat())
    await house.sql.execute(
        "UPDATE outbox SET due_at = now() WHERE payload ->> 'mail' = 'reminder'"
        " AND (payload ->> 'version')::int = 2"
    )
    forgotten = await house.asked(table_id, at(16), at(17), email="gone@example.org")
    await house.as_staff("POST", "/guests/forget", json={"contact": "gone@example.org"})
    async with mail_server() as server, working(**settings_of(server)):

        async def skipped() -> Any:
            rows = await house.sql.fetch(
                "SELECT last_error FROM outbox WHERE skipped_at IS NOT NULL AND channel = 'mail'"
                " AND payload ->> 'to' = 'guest'"
            )
            return sorted(row[0] for row in rows) if len(rows) == 3 else None

        reasons = await becomes(skipped)
    assert [reason.partition(": ")[2] for reason in reasons] == [
        "The booking has changed since.",
        "The guest has no address.",
        "The guest has no address.",
    ]
    assert forgotten
    assert not [to for to in server.receivers if "gone@example.org" in to]


async def test_without_a_mail_server_mails_end_as_skipped(house: Restaurant, working: Run) -> None:
    async with working():
        await house.asked(await house.table(), at(19), at(21))
        await settled(house)
    assert await house.sql.fetchval("SELECT bool_and(skipped_at IS NOT NULL) FROM outbox"
                                    " WHERE channel = 'mail'")  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Who signs the mail server's certificate; this process believes it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return ca


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_tls_and_starttls_shake_hands_and_sign_in(
    house: Restaurant, working: Run, authority: trustme.CA, scheme: str, is_trusted: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer = authority if is_trusted else trustme.CA()
    signer.issue_cert("localhost").configure_cert(context)
    by = {"smtps": "tls", "smtp+starttls": "starttls"}[scheme]
    async with mail_server(**{by: context}, wants_login=True) as server:  # type: ignore[arg-type]
        url = f"{scheme}://ann%40x:secret@localhost:{server.port}"
        async with working(smtp_url=url, **FROM):
            await house.asked(await house.table(), at(19), at(21))
            if is_trusted:
                await server.gets(1)
                assert server.was_tls == [True]
                assert server.logins == [(b"ann@x", b"secret")]
                return

            async def why() -> Any:
                return await house.sql.fetchval(
                    "SELECT last_error FROM outbox WHERE channel = 'mail' AND last_error LIKE"
                    " '%certificate%'"
                )

            await becomes(why)
            assert server.mails == []


def test_urls_say_how_to_reach_the_mail_server() -> None:
    assert relay_of("smtp://relay").port == 25
    assert relay_of("smtps://relay")[:2] == ("relay", 465)
    relay = relay_of("smtp+starttls://me%40x:p%3Aw@relay:2525")
    assert relay == ("relay", 2525, "me@x", "p:w", False, True)
    with pytest.raises(SettingsError, match="SMTP_URL"):
        read_settings({"HOLDFAST_SMTP_URL": "http://relay"})
    with pytest.raises(SettingsError, match="MAIL_FROM"):
        read_settings({"HOLDFAST_SMTP_URL": "smtp://relay"})


async def test_a_slow_mail_server_does_not_hold_up_bookings(
    house: Restaurant, working: Run
) -> None:
    async with mail_server() as server, working(**settings_of(server)):
        server.may_answer.clear()
        table_id = await house.table()
        async with asyncio.timeout(20):
            for n in range(3):
                await house.asked(table_id, at(10 + n), at(11 + n))
        server.may_answer.set()
        await server.gets(3)


@pytest.mark.parametrize("is_accepted", [False, True], ids=["while it sends", "before it says so"])
async def test_a_killed_workers_mail_is_sent_again_under_the_same_id(
    house: Restaurant, start: Start, working: Run, dsn: str, is_accepted: bool
) -> None:
    await house.asked(await house.table(), at(19), at(21))
    async with mail_server() as server:
        server.may_answer.clear()
        worker = await start("worker", database_url=dsn, **settings_of(server))
        await asyncio.wait_for(server.was_asked.wait(), 30)
        async with house.sql.transaction():
            if is_accepted:  # and cannot be written down: somebody holds the row that says so
                await house.sql.execute("SELECT FROM outbox FOR UPDATE")
                server.may_answer.set()
                await server.gets(1)
            await worker.stop(signal.SIGKILL)
        server.may_answer.set()
        await house.sql.execute("UPDATE outbox SET due_at = now() WHERE is_waiting")
        async with working(**settings_of(server)):
            await server.gets(1 + is_accepted)
            await settled(house)
    assert len(server.ids) == 2
    assert len(set(server.ids)) == 1


async def test_a_zone_that_python_does_not_know_is_told_right(
    house: Restaurant, working: Run
) -> None:
    """PostgreSQL knows more of them, such as those that say their rule."""
    await house.sql.execute(
        "SELECT set_booking_rules('main', '{\"time_zone\": \"XYZ-5:30\"}',"
        ' \'{"time_zone": "UTC", "reminder_hours": 0, "booking_minutes": 120}\', \'dba\')'
    )
    async with mail_server() as server, working(**settings_of(server)):
        booking_id = await house.asked(await house.table(), at(13), at(15))
        await house.do("confirm", booking_id)
        mails = await server.gets(2)
    (confirmed,) = [mail for mail in mails if "text/calendar" in str(mail)]
    assert "18:30\N{EN DASH}20:30" in part(confirmed, "text/plain")
    entry: Any = Calendar.from_ical(part(confirmed, "text/calendar"))
    assert entry.walk("VEVENT")[0]["dtstart"].dt == at(13)
    link = re.search(r"/bookings/cancel\?token=\S+", part(confirmed, "text/plain"))
    assert link
    page = await house.api.get("/api/v1" + link[0])
    assert page.status == 200
    assert "18:30" in await page.text()
