"""Settings: every HOLDFAST_* environment variable, typed, in one place."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec

PREFIX = "HOLDFAST_"
ROOT = Path(__file__).resolve().parent.parent

SECRET_BYTES = 32

Network = IPv4Network | IPv6Network
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
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
