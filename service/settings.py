"""Settings: every HOLDFAST_* environment variable, typed, in one place.

They come from the environment and, where that says nothing, from the file .env of the working
folder, as in docker-compose. HOLDFAST_…_FILE names a file that holds a setting, such as a secret.
"""

import base64
import os
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from dotenv import dotenv_values

PREFIX = "HOLDFAST_"
SHORTEST_KEY = 24
"""Bytes of a webhook's secret, by Standard Webhooks."""
SHORTEST_PAYMENT_KEY = 16
"""Letters. Whoever guesses it makes money: one signature seen is enough to try keys against."""
ROOT = Path(__file__).resolve().parent.parent

SECRET_BYTES = 32
DISTINCT_LETTERS = 8
"""In each secret. 32 random digits, the poorest of alphabets, have fewer in one of 5,000."""

Network = IPv4Network | IPv6Network
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Origins = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^\s*(https?://[^\s/]+(\s+|\Z))*\Z",
        description="sites such as https://shop.example, with spaces between",
    ),
]
StoreId = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^\s:\x00-\x1f\x7f]{1,64}\Z",
        description="1 to 64 visible characters without a colon",
    ),
]
Secret = Annotated[str, msgspec.Meta(extra={"is_secret": True})]
"""A value that no message repeats."""


class SettingsError(Exception):
    """A setting is wrong. The message says which and why; the process exits with 2."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says; the field `port` is the variable HOLDFAST_PORT, and so on."""

    host: str = "127.0.0.1"
    port: Port = 8080
    """0 takes a free port, which is printed."""
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """API processes that share the port."""
    data_dir: Path = Path(".holdfast")
    """Where the embedded PostgreSQL keeps its data."""
    database_url: Secret = ""
    """postgresql://… of a server of one's own; empty: the embedded one. It ends in
    ?pooler=transaction where it leads through PgBouncer in transaction mode."""
    migration_url: Secret = ""
    """The owner's login, where that is not database_url's."""
    listen_url: Secret = ""
    """Where database_url leads through a pooler: past it, for the feed to listen."""
    store: StoreId = "main"
    """The store that routes without a store_id mean."""
    stores: str = ""
    """Further stores to create at start, separated by spaces."""
    max_hold_seconds: Annotated[int, msgspec.Meta(ge=1, le=10 * 365 * 86400)] = 86400
    """The longest a hold with an expiry may live, extensions and all."""
    cors_origins: Origins = ""
    """Sites whose pages may call, `https://shop.example`, separated by spaces."""
    max_connections: Annotated[int, msgspec.Meta(ge=16, le=100000)] = 16000
    """That a process holds open; fewer where the system allows it fewer open files."""
    max_connections_per_address: Annotated[int, msgspec.Meta(ge=0, le=100000)] = 0
    """Of them, for one client; 0: half of them. Proxies of our own have no such limit."""
    monitors: str = ""
    """Addresses and networks, with spaces between, that health and metrics are told to, beside
    this machine."""
    order_hold_seconds: Annotated[int, msgspec.Meta(ge=0, le=10 * 365 * 86400)] | None = None
    """How long an order that nobody touches holds its units; 0: for good. Empty: a customer's own
    order for 1,800 seconds, others for good."""
    worker: Literal["inside", "none"] = "inside"
    """Whether `serve` runs the worker, too; none: `python -m service worker` runs elsewhere."""
    report_time: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^([01]\d|2[0-3]):[0-5]\d\Z", description="hours and minutes, such as 21:00"
        ),
    ] = "21:00"
    """When the daily report is sent, hours and minutes in time_zone."""
    time_zone: str = "UTC"
    """IANA name of the zone that report_time and the dates of reports are in."""
    booking_minutes: Annotated[int, msgspec.Meta(ge=1, le=1440)] = 120
    """How long a visit to a restaurant lasts where its house rules do not say."""
    reminder_hours: Annotated[int, msgspec.Meta(ge=0, le=720)] = 0
    """How long before a visit the guest is reminded, where the house rules do not say; 0: not."""
    guest_limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    """Bookings of one guest, by e-mail or phone, that may wait for an answer at once."""
    guest_days: Annotated[int, msgspec.Meta(ge=1, le=36500)] = 365
    """Days after a booking ended until its guest's name and contacts are erased."""
    smtp_url: Annotated[
        Secret,
        msgspec.Meta(
            pattern=r"^((smtp|smtps|smtp\+starttls)://[!-~]+)?\Z",
            description="smtp://, smtp+starttls:// or smtps://login:password@host:port",
        ),
    ] = ""
    """smtp://, smtp+starttls:// or smtps:// with login:password@host:port; empty: no mail."""
    mail_from: Annotated[str, msgspec.Meta(pattern=r"^([^\x00-\x1f]*@[^\x00-\x20]+)?\Z")] = ""
    """Who mails are from: bookings@harbour.example or Harbour <bookings@harbour.example>."""
    mail_staff: Annotated[str, msgspec.Meta(pattern=r"^([!-~]+@[!-~]+(\s+|\Z))*\Z")] = ""
    """Addresses that hear of requests and of guests' cancellations, separated by spaces."""
    currency: Annotated[
        str, msgspec.Meta(pattern=r"^[A-Z]{3}\Z", description="three letters of ISO 4217: EUR")
    ] = "EUR"
    """What amounts are in, as the dashboard writes them."""
    language: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})?\Z")] = "en"
    """Of mails and pages whose guest has named none; there is a file of it in languages/."""
    templates_dir: Path | None = None
    """A folder with a restaurant's own mail.html, mail.txt, cancel.html or languages/*.toml."""
    telegram_bot_token: Annotated[
        Secret, msgspec.Meta(pattern=r"^(\d+:[!-~]+)?\Z", description="a bot's token, 4711:…")
    ] = ""
    """Of the bot that sends reports; empty: none are sent."""
    telegram_chat_id: Annotated[
        str,
        msgspec.Meta(pattern=r"^(-?\d+|@\w+)?\Z", description="a chat's number or @name"),
    ] = ""
    """The one chat that reports go to: a number, or a public channel's @name."""
    telegram_api_url: Annotated[
        str, msgspec.Meta(pattern=r"^https?://[!-~]+\Z", description="a URL of http or https")
    ] = "https://api.telegram.org"
    environment: Literal["development", "production"] = "development"
    jwt_secret: Secret = ""
    """Secrets of tokens, at least 32 bytes each, with spaces between: the first signs, all are
    taken. Empty: a new one at each start."""
    token_seconds: Annotated[int, msgspec.Meta(ge=1, le=86400)] = 3600
    """How long a user's token is good."""
    session_idle_seconds: Annotated[int, msgspec.Meta(ge=1, le=30 * 86400)] = 3600
    """A session of a user that is not used for so long is over."""
    require_totp: Literal["none", "admin", "staff"] = "none"
    """Who has to sign in with the code of an authenticator, too; staff: staff and admins."""
    public_limit: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 60
    """POSTs a minute that each address may send to routes open to all; 0: as many as it likes."""
    public_url: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(https?://[!-~]*[!-.0-~])?\Z",
            description="a URL of http or https that does not end in a slash",
        ),
    ] = ""
    """What links start with; empty: http and the address where the service listens."""
    trusted_proxies: str = ""
    """Addresses and networks, with spaces between, whose X-Forwarded-For is believed."""
    payment_key: Secret = ""
    """The key of the SHA-1 signature of payments; empty: none so signed are taken."""
    webhook_secrets: Secret = ""
    """whsec_… of Standard Webhooks, separated by spaces: the new and the old during rotation."""
    hook_networks: str = ""
    """Networks of your own, with spaces between, that webhooks may go to in production, too."""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_delay: Annotated[float, msgspec.Meta(ge=0, le=12)] = 0.5
    """Seconds between turning unready and refusing new connections."""

    @property
    def jwt_secrets(self) -> list[str]:
        """The secrets of tokens; the first signs."""
        return self.jwt_secret.split()

    @property
    def proxies(self) -> list[Network]:
        """The networks whose X-Forwarded-For is believed; ValueError when one is none."""
        return _parse_networks(self.trusted_proxies)

    @property
    def monitor_networks(self) -> list[Network]:
        """The networks that health and metrics are told to; ValueError when one is none."""
        return _parse_networks(self.monitors)

    @property
    def booking_defaults(self) -> str:
        """What applies where a restaurant's house rules say nothing, as JSON."""
        defaults = {
            "time_zone": self.time_zone,
            "reminder_hours": self.reminder_hours,
            "booking_minutes": self.booking_minutes,
        }
        return msgspec.json.encode(defaults).decode()

    @property
    def hook_targets(self) -> list[Network]:
        """The networks of hook_networks; ValueError when one is none."""
        return _parse_networks(self.hook_networks)

    @property
    def address(self) -> str:
        """Where the service listens, as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def link_base(self) -> str:
        """What links start with."""
        if self.public_url:
            return self.public_url
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def owner_url(self) -> str:
        """The URL that migrations and the owner's commands use; empty: the embedded server."""
        return self.migration_url or self.database_url

    @property
    def webhook_keys(self) -> list[bytes]:
        """The keys that webhook_secrets hold; ValueError where one is none."""
        secrets = self.webhook_secrets.split()
        if not all(secret.startswith("whsec_") for secret in secrets):
            raise ValueError("a secret begins with whsec_")
        keys = [base64.b64decode(secret[6:], validate=True) for secret in secrets]
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise ValueError(f"a secret has at least {SHORTEST_KEY} bytes")
        return keys


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Build Settings from `environ`, by default that of `environment`.

    Raises SettingsError naming the wrong variable. One that is set but empty counts as not set,
    as in a compose file's `${NAME:-}`.
    """
    environ = environment() if environ is None else environ
    given = {}
    for field in msgspec.structs.fields(Settings):
        if value := _given(environ, NAMES[field.name]):
            given[field.name] = _choice(field, value) if _choices(field) else value
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_convert_path)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`")
        raise _wrong(name, given, _EXPECTED.get(name, problem)) from None
    for name, check in CHECKS.items():
        try:
            check(settings)
        except (ValueError, KeyError, OSError) as error:
            raise _wrong(name, given, str(error)) from None
    return settings


def environment() -> dict[str, str]:
    """The environment, and what .env says of names that are not in it.

    HOLDFAST_ENV_FILE names another file.
    """
    file = os.environ.get(ENV_FILE) or ".env"
    found = {name: value for name, value in dotenv_values(file).items() if value}
    for name in NAMES.values():  # a name and its …_FILE are the same setting
        if os.environ.get(name) or os.environ.get(name + FROM_FILE):
            found = {key: found[key] for key in found if key not in (name, name + FROM_FILE)}
    return found | {name: value for name, value in os.environ.items() if value}


def unknown_settings(environ: Mapping[str, str] | None = None) -> list[str]:
    """Names that look like settings and are none: most likely a slip of the pen."""
    environ = environment() if environ is None else environ
    known = {*NAMES.values(), *(name + FROM_FILE for name in NAMES.values()), *_FOR_OTHERS}
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def is_secret(name: str) -> bool:
    """Whether the value of a field of Settings is shown to nobody."""
    return name in _SECRETS


FROM_FILE = "_FILE"
ENV_FILE = PREFIX + "ENV_FILE"
NAMES = {field.name: PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
"""The variable of each field."""


def _parse_networks(written: str) -> list[Network]:
    return [ip_network(each) for each in written.split()]


_FOR_OTHERS = {
    ENV_FILE,
    PREFIX + "LISTEN_FD",
    PREFIX + "METRICS_FOLDER",
    PREFIX + "TEST_DATABASE_URL",
    PREFIX + "TEST_BIN_DIR",
    PREFIX + "DB_PASSWORD",
}


def _metas(kind: Any) -> Iterator[msgspec.Meta]:
    """What a type is annotated with, however deep."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        yield from (meta for meta in metas if isinstance(meta, msgspec.Meta))
        yield from _metas(inner)


_SECRETS = {
    field.name
    for field in msgspec.structs.fields(Settings)
    if any((meta.extra or {}).get("is_secret") for meta in _metas(field.type))
}
_EXPECTED = {
    field.name: "has to be " + (meta.description or f"a number from {meta.ge} to {meta.le}")
    for field in msgspec.structs.fields(Settings)
    for meta in _metas(field.type)
    if meta.description or meta.le is not None
}


def _given(environ: Mapping[str, str], name: str) -> str:
    """The value of a variable, or of the file that its …_FILE names; empty: not set."""
    file = environ.get(name + FROM_FILE)
    if not file:
        return environ.get(name, "")
    if environ.get(name):
        raise SettingsError(f"{name} and {name}{FROM_FILE} are both set: one is enough")
    try:
        return Path(file).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "no text in UTF-8"
        raise SettingsError(f"{name}{FROM_FILE}={file!r}: {said}") from None


def _choices(field: msgspec.structs.FieldInfo) -> tuple[str, ...]:
    return get_args(field.type) if get_origin(field.type) is Literal else ()


def _choice(field: msgspec.structs.FieldInfo, value: str) -> str:
    """One of a field's choices, in whichever letter case it was written."""
    if value.strip().lower() in _choices(field):
        return value.strip().lower()
    allowed = " or ".join(_choices(field))
    raise SettingsError(f"{NAMES[field.name]}={value!r}: has to be {allowed}")


def _wrong(name: str, given: Mapping[str, str], problem: str) -> SettingsError:
    """Which variable is wrong and why; its value, where that is no secret."""
    shown = "" if name in _SECRETS or name not in given else f"={given[name]!r}"
    return SettingsError(f"{NAMES.get(name, PREFIX + '*')}{shown}: {problem}")


def _check_url(written: str) -> None:
    if written and urlsplit(written).scheme not in ("postgresql", "postgres"):
        raise ValueError("a database URL starts with postgresql://")


def _check_pooler(settings: Settings) -> None:
    _check_url(settings.listen_url)
    if "pooler=transaction" in settings.database_url and not settings.listen_url:
        raise ValueError("past the pooler there has to be a URL for the feed to listen")


def _check_owner(settings: Settings) -> None:
    _check_url(settings.migration_url)
    if "pooler=transaction" in settings.owner_url:
        raise ValueError("migrations need a URL of their own, past the pooler")


def _check_stores(settings: Settings) -> None:
    for store_id in settings.stores.split():
        try:
            msgspec.convert(store_id, StoreId)
        except msgspec.ValidationError:
            raise ValueError("a store's id has 1 to 64 visible characters, no colon") from None


def _check_zone(settings: Settings) -> None:
    try:
        ZoneInfo(settings.time_zone)
    except (KeyError, ValueError, OSError):
        raise ValueError("there is no time zone of that name, such as Europe/Berlin") from None


def _check_secret(settings: Settings) -> None:
    if settings.environment == "production" and not settings.jwt_secrets:
        raise ValueError(f"{PREFIX}ENVIRONMENT=production needs one of at least 32 bytes")
    if any(len(secret.encode()) < SECRET_BYTES for secret in settings.jwt_secrets):
        raise ValueError("each secret has to be of at least 32 bytes")
    if settings.environment == "production" and not all(map(_is_random, settings.jwt_secrets)):
        raise ValueError("each secret has to be random, such as from: openssl rand -hex 32")


def _is_random(secret: str) -> bool:
    """Whether it is neither of a few letters nor a shorter text repeated."""
    return len(set(secret)) >= DISTINCT_LETTERS and secret not in (secret + secret)[1:-1]


def _check_payment_key(settings: Settings) -> None:
    key = settings.payment_key
    if 0 < len(key) < SHORTEST_PAYMENT_KEY:
        raise ValueError(f"it has to be of at least {SHORTEST_PAYMENT_KEY} letters")
    if key and settings.environment == "production" and not _is_random(key):
        raise ValueError("it has to be random, such as from: openssl rand -hex 32")


def _check_webhook_secrets(settings: Settings) -> None:
    keys = [key.decode("latin-1") for key in settings.webhook_keys]
    if settings.environment == "production" and not all(map(_is_random, keys)):
        raise ValueError("each has to be random, such as whsec_ and: openssl rand -base64 32")


def _check_chat(settings: Settings) -> None:
    if settings.telegram_bot_token and not settings.telegram_chat_id:
        raise ValueError(f"{PREFIX}TELEGRAM_BOT_TOKEN needs it, too")


def _check_sender(settings: Settings) -> None:
    if settings.smtp_url and not settings.mail_from:
        raise ValueError(f"{PREFIX}SMTP_URL needs it, too")


CHECKS: dict[str, Callable[[Settings], object]] = {
    "stores": _check_stores,
    "database_url": lambda settings: _check_url(settings.database_url),
    "migration_url": _check_owner,
    "listen_url": _check_pooler,
    "time_zone": _check_zone,
    "telegram_chat_id": _check_chat,
    "mail_from": _check_sender,
    "payment_key": _check_payment_key,
    "webhook_secrets": _check_webhook_secrets,
    "jwt_secret": _check_secret,
    "trusted_proxies": lambda settings: settings.proxies,
    "monitors": lambda settings: settings.monitor_networks,
    "hook_networks": lambda settings: settings.hook_targets,
}
"""What a type cannot say of a field: raises ValueError with what is wrong."""


def _convert_path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value)).expanduser()
    raise NotImplementedError(kind)
