"""Connections to PostgreSQL: as which role, with which settings, and why there is none.

A URL that ends in `pooler=transaction` leads through PgBouncer in transaction mode, which takes no
settings of ours and lets each transaction run on another connection: there the login's own
settings and rights count (`python -m service migrate --sql-roles` prints them).
"""

import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg

SEARCH_PATH = "holdfast, pg_temp"
CONNECT_SECONDS = 3.0
CALL_SECONDS = 8.0
"""Longer than every timeout of the server: reached only when the network went silent."""
CLOSE_SECONDS = 1.0
"""For a goodbye: a server that says nothing is left without one."""

SETTINGS = {
    "search_path": SEARCH_PATH,
    "application_name": "holdfast",
    "timezone": "UTC",
    "jit": "off",
    "lock_timeout": "2s",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}

POOLED = ("pooler", "transaction")
ADD_POOLER = f"add ?{'='.join(POOLED)} to the URL"

# Seconds and tries after which the kernel gives a connection up: idle ones that answer no probe,
# and busy ones whose packets nobody acknowledges.
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 3}
UNACKNOWLEDGED_MS = 8000

NO_CONNECTION = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidAuthorizationSpecificationError,  # also a wrong password
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
    asyncpg.CannotConnectNowError,
    asyncpg.InternalClientError,
)

logger = logging.getLogger("holdfast.database")


class Unreachable(ConnectionError):
    """No connection could be had. The message names the server and says why; it has no secret."""


@asynccontextmanager
async def connected(
    dsn: str, role: str, *, seconds: float | None = CALL_SECONDS
) -> AsyncIterator[Any]:
    """A raw asyncpg connection that works as `role` with the house's settings, closed at the end.

    `seconds` is how long one call may take here; None is for long commands, which the server
    then does not stop either.
    """
    connection = await connect(dsn, role, seconds)
    try:
        yield connection
    finally:
        with suppress(OSError, asyncpg.InterfaceError):  # TimeoutError is an OSError
            await connection.close(timeout=CLOSE_SECONDS)


async def connect(
    dsn: str, role: str, seconds: float | None = CALL_SECONDS, **settings: str
) -> Any:
    """A raw asyncpg connection for somebody who closes it, such as a pool; see `connected`.

    Where the installation has no such role, or this login may not take it, the login itself is
    used: its rights are then what the administrator gave it.
    """
    if is_pooled(dsn):
        return await dial(dsn, command_timeout=seconds)
    settings = SETTINGS | ({} if seconds else {"statement_timeout": "0"}) | settings
    try:
        connection = await dial(
            dsn, command_timeout=seconds, server_settings=settings | {"role": role}
        )
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        connection = await dial(dsn, command_timeout=seconds, server_settings=settings)
        if not await connection.fetchval("SELECT to_regnamespace('holdfast') IS NOT NULL"):
            await connection.close()
            raise Unreachable("The database is not migrated yet: python -m service migrate") from (
                error
            )
        logger.warning("Working as the login itself, not as %s: %s", role, error)
        return connection
    if await connection.fetchval("SELECT current_setting('role')") != role:
        await connection.close()
        raise Unreachable(f"{place_of(dsn)} is a pooler that drops our settings; {ADD_POOLER}")
    return connection


async def dial(dsn: str, **arguments: Any) -> Any:
    """A connection as the login itself. Raises Unreachable."""
    if is_pooled(dsn):
        dsn, arguments = without_pooler(dsn), {**arguments, "statement_cache_size": 0}
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, **arguments)
    except NO_CONNECTION as error:
        raise Unreachable(f"PostgreSQL at {place_of(dsn)}: {_cause(error)}") from error
    _keep_alive(connection)
    return connection


def is_pooled(dsn: str) -> bool:
    """Whether a URL leads through PgBouncer in transaction mode."""
    return POOLED in parse_qsl(urlsplit(dsn).query)


def without_pooler(dsn: str) -> str:
    """The URL as drivers and libpq understand it."""
    parts = urlsplit(dsn)
    query = [pair for pair in parse_qsl(parts.query) if pair != POOLED]
    return parts._replace(query=urlencode(query)).geturl()


def place_of(dsn: str) -> str:
    """Which server and database a URL means, without login and password."""
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    host = parts.netloc.rpartition("@")[2] or query.get("host", "localhost")
    port = f":{query['port']}" if "port" in query else ""
    return f"{host}{port}{parts.path}"


def _cause(error: Exception) -> str:
    """What an error of connecting says to a person."""
    if "unsupported startup parameter" in str(error):
        return f"a pooler that takes no settings; {ADD_POOLER} ({error})"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)  # asyncio's own words repeat the address
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _keep_alive(connection: Any) -> None:
    """Have the kernel notice a server that is gone without a word."""
    known = connection._transport.get_extra_info("socket")
    if known is None or known.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.socket(fileno=os.dup(known.fileno())) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in {**KEEPALIVE, "TCP_USER_TIMEOUT": UNACKNOWLEDGED_MS}.items():
            if hasattr(socket, name):  # Linux has them all
                shared.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
