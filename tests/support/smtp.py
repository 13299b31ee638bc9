"""A mail server on loopback that keeps what it is given, and does what a test tells it to."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

Refuse = Callable[[str], str | None]


class MailServer:
    """Mails in order of arrival; `answers` are given to the next recipients, then all are taken."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.ids: list[str] = []
        """Message-IDs, of mails too whose sender was gone before the answer."""
        self.receivers: list[list[str]] = []
        self.answers: list[str] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.was_tls: list[bool] = []
        self.port = 0
        self.was_asked = asyncio.Event()
        """Set while a mail arrives."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._grew = asyncio.Condition()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.ids.append(str(mail["Message-ID"]))
        self.was_asked.set()
        await self.may_answer.wait()
        async with self._grew:
            self.mails.append(mail)
            self.receivers.append(envelope.rcpt_tos)
            transport = server.transport
            assert transport
            self.was_tls.append(transport.get_extra_info("ssl_object") is not None)
            self._grew.notify_all()
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, kind: str, data: Any) -> Any:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"secret")

    async def gets(self, count: int = 1, *, seconds: float = 30.0) -> list[EmailMessage]:
        """Wait until so many mails have come; all of them."""
        async with asyncio.timeout(seconds), self._grew:
            await self._grew.wait_for(lambda: len(self.mails) >= count)
        return self.mails


@asynccontextmanager
async def mail_server(
    *,
    tls: ssl.SSLContext | None = None,
    starttls: ssl.SSLContext | None = None,
    wants_login: bool = False,
    port: int = 0,
) -> AsyncIterator[MailServer]:
    """A mail server for the time being: plain, with STARTTLS, or with TLS from the start."""
    handler = MailServer()

    def protocol() -> SMTP:
        with warnings.catch_warnings():  # it does not see that TLS is there from the start
            warnings.simplefilter("ignore")
            return SMTP(
                handler,
                hostname="localhost",
                tls_context=starttls,
                require_starttls=starttls is not None,
                authenticator=handler.authenticate if wants_login else None,
                auth_required=wants_login,
                auth_require_tls=wants_login and tls is None,
                enable_SMTPUTF8=True,
            )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, ssl=tls)
    handler.port = server.sockets[0].getsockname()[1]
    try:
        yield handler
    finally:
        server.close()
