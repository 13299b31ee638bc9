"""Settings: every HOLDFAST_* environment variable, typed, in one place."""

import base64
import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec

PREFIX = "HOLDFAST_"
SHORTEST_KEY = 24
"""Bytes of a webhook's secret, by Standard Webhooks."""
ROOT = Path(__file__).resolve().parent.parent

SECRET_BYTES = 32

Network = IPv4Network | IPv6Network
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Origins = Annotated[str, msgspec.Meta(pattern=r"^\s*(https?://[^\s/]+(\s+|\Z))*\Z")]
StoreId = Annotated[str, msgspec.Meta(pattern=r"^[^\s:\x00-\x1f\x7f]{1,64}\Z")]


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
    database_url: str = ""
    """postgresql://… of a server of one's own; empty: the embedded one."""
    migration_url: str = ""
    """The owner's login, where that is not database_url's."""
    store: StoreId = "main"
    """The store that routes without a store_id mean."""
    stores: str = ""
    """Further stores to create at start, separated by spaces."""
    max_hold_seconds: Annotated[int, msgspec.Meta(ge=1, le=10 * 365 * 86400)] = 86400
    """The longest a hold with an expiry may live, extensions and all."""
    cors_origins: Origins = ""
    """Sites whose pages may open the feed, `https://shop.example`, separated by spaces."""
    worker: Literal["inside", "none"] = "inside"
    """Whether `serve` runs the worker, too; none: `python -m service worker` runs elsewhere."""
    report_time: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d\Z")] = "21:00"
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
    telegram_bot_token: Annotated[str, msgspec.Meta(pattern=r"^(\d+:[!-~]+)?\Z")] = ""
    """Of the bot that sends reports; empty: none are sent."""
    telegram_chat_id: Annotated[str, msgspec.Meta(pattern=r"^(-?\d+|@\w+)?\Z")] = ""
    """The one chat that reports go to: a number, or a public channel's @name."""
    telegram_api_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]+\Z")] = (
        "https://api.telegram.org"
    )
    environment: Literal["development", "production"] = "development"
    jwt_secret: str = ""
    """Secrets of tokens, at least 32 bytes each, with spaces between: the first signs, all are
    taken. Empty: a new one at each start."""
    token_seconds: Annotated[int, msgspec.Meta(ge=1, le=86400)] = 3600
    """How long a user's token is good."""
    public_url: Annotated[str, msgspec.Meta(pattern=r"^(https?://[!-~]*[!-.0-~])?\Z")] = ""
    """What links start with; empty: http and the address where the service listens."""
    trusted_proxies: str = ""
    """Addresses and networks, with spaces between, whose X-Forwarded-For is believed."""
    payment_key: str = ""
    """The key of the SHA-1 signature of payments; empty: none so signed are taken."""
    webhook_secrets: str = ""
    """whsec_… of Standard Webhooks, separated by spaces: the new and the old during rotation."""
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
        return [ip_network(each) for each in self.trusted_proxies.split()]

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


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Build Settings from `environ`; raise SettingsError naming the wrong variable.

    A variable that is set but empty counts as unset, as in a compose file's `${NAME:-}`.
    """
    names = {field.name: PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    given = {field: environ[name] for field, name in names.items() if environ.get(name)}
    try:
        settings = msgspec.convert(given, Settings, strict=False, dec_hook=_convert_path)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        name = names.get(path.rstrip("`"), PREFIX + "*")
        raise SettingsError(f"{name}={environ.get(name, '')!r}: {problem}") from None
    for store_id in settings.stores.split():
        try:
            msgspec.convert(store_id, StoreId)
        except msgspec.ValidationError as error:
            raise SettingsError(f"{PREFIX}STORES={settings.stores!r}: {error}") from None
    for url in (settings.database_url, settings.migration_url):
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise SettingsError(f"a database URL must start with postgresql://, not {url[:12]!r}")
    try:
        ZoneInfo(settings.time_zone)
    except (KeyError, ValueError, OSError):
        raise SettingsError(
            f"{PREFIX}TIME_ZONE={settings.time_zone!r}: no time zone of that name, such as UTC"
        ) from None
    if settings.telegram_bot_token and not settings.telegram_chat_id:
        raise SettingsError(f"{PREFIX}TELEGRAM_BOT_TOKEN needs {PREFIX}TELEGRAM_CHAT_ID, too")
    try:
        _ = settings.webhook_keys
    except ValueError as error:  # without the value: it is a secret
        raise SettingsError(f"{PREFIX}WEBHOOK_SECRETS: {error}") from None
    if settings.environment == "production" and not settings.jwt_secrets:
        raise SettingsError(
            f"{PREFIX}ENVIRONMENT=production needs {PREFIX}JWT_SECRET of at least 32 bytes"
        )
    if any(len(secret.encode()) < SECRET_BYTES for secret in settings.jwt_secrets):
        raise SettingsError(f"each secret of {PREFIX}JWT_SECRET has to be of at least 32 bytes")
    try:
        _ = settings.proxies
    except ValueError as error:
        raise SettingsError(f"{PREFIX}TRUSTED_PROXIES: {error}") from None
    return settings


def unknown_settings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names that look like settings and are none: most likely a slip of the pen."""
    known = {PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)}
    return sorted(
        name for name in environ if name.startswith(PREFIX) and name not in known | _FOR_OTHERS
    )


_FOR_OTHERS = {
    PREFIX + "LISTEN_FD",
    PREFIX + "TEST_DATABASE_URL",
    PREFIX + "TEST_BIN_DIR",
    PREFIX + "DB_PASSWORD",
}


def _convert_path(kind: type, value: object) -> object:
    if kind is Path:
        return Path(str(value)).expanduser()
    raise NotImplementedError(kind)
