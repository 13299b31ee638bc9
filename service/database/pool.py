"""The database: one engine, and one way to call one stored function.

A call is one statement in autocommit: the function is the transaction. What PostgreSQL or the
network answers instead of a row becomes a Refusal that tells the caller what is certain:

* nothing happened (`database_unavailable`, `database_busy`, `overloaded`): try again later;
* it may have happened (`outcome_unknown`): try again with the same id, which replays.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Row, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.elements import TextClause

from service.results import Refusal

logger = logging.getLogger("holdfast.database")

SEARCH_PATH = "holdfast, pg_temp"
CONNECT_SECONDS = 3.0
CLOSE_SECONDS = 1.0
"""For a goodbye: a server that says nothing is left without one."""
POOL_SECONDS = 0.8
"""How long a call waits for a connection: an overloaded service says so within a second."""
CALL_SECONDS = 8.0
"""Longer than every timeout of the server: reached only when the network went silent."""

SETTINGS = {
    "search_path": SEARCH_PATH,
    "application_name": "holdfast",
    "timezone": "UTC",
    "jit": "off",
    "lock_timeout": "2s",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
}

ROLLED_BACK = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "23505",  # unique_violation: a twin won the race; the next try finds what it committed
    "0A000",  # "cached plan must not change result type", after a migration
}
BUSY = {
    "55P03",  # lock_not_available: lock_timeout
    "57014",  # query_canceled: statement_timeout
}
NOTHING_DONE = {
    "25006",  # read_only_sql_transaction: this server has become a standby
    "3F000",  # invalid_schema_name: not migrated yet
    "42883",  # undefined_function: likewise
}
GONE = {
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
}
ATTEMPTS = 4
# Of which TimeoutError is an OSError; and an InternalClientError says that the server had ended the
# connection, but not closed it yet.
DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

T = TypeVar("T")

_transaction: ContextVar[AsyncConnection | None] = ContextVar("_transaction", default=None)
"""Where the calls of this task go inside of `in_transaction`."""


@asynccontextmanager
async def connected(
    dsn: str, role: str, *, seconds: float | None = CALL_SECONDS
) -> AsyncIterator[Any]:
    """A raw asyncpg connection that works as `role` with the house's settings, closed at the end.

    `seconds` is how long one call may take here; None is for long commands, which the server
    then does not stop either.

    Where the installation has no such role, or this login may not take it, the login itself is
    used: its rights are then what the administrator gave it.
    """
    connection = await _connect(dsn, role, seconds)
    try:
        yield connection
    finally:
        with suppress(OSError, asyncpg.InterfaceError):  # TimeoutError is an OSError
            await connection.close(timeout=CLOSE_SECONDS)


async def _connect(dsn: str, role: str, seconds: float | None = CALL_SECONDS) -> Any:
    server_settings = SETTINGS | ({} if seconds else {"statement_timeout": "0"})
    arguments: dict[str, Any] = {"timeout": CONNECT_SECONDS, "command_timeout": seconds}
    try:
        return await asyncpg.connect(
            dsn, server_settings=server_settings | {"role": role}, **arguments
        )
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError) as error:
        connection = await asyncpg.connect(dsn, server_settings=server_settings, **arguments)
        if not await connection.fetchval("SELECT to_regnamespace('holdfast') IS NOT NULL"):
            await connection.close()
            raise ConnectionError("the database is not migrated yet") from error
        logger.warning("Working as the login itself, not as %s: %s", role, error)
        return connection


class Database:
    """A pool of connections to one database, working as one role."""

    def __init__(self, dsn: str, *, role: str = "holdfast_service", pool_size: int = 16) -> None:
        self.dsn = dsn
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: _connect(dsn, role),
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            pool_reset_on_return=None,
            json_deserializer=str,  # documents pass through as the text the database built
        )
        event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        event.listen(self.engine.sync_engine, "invalidate", _drop)

    async def call(self, statement: TextClause, **parameters: Any) -> Row[Any]:
        """The one row of a function that writes."""
        return (await self.rows(statement, parameters))[0]

    async def read(self, statement: TextClause, **parameters: Any) -> Row[Any]:
        """The one row of a function that only reads: what got lost is simply asked again."""
        return (await self.rows(statement, parameters, is_read=True))[0]

    async def rows(
        self, statement: TextClause, parameters: dict[str, Any], *, is_read: bool = False
    ) -> Sequence[Row[Any]]:
        """All rows of a function. What was certainly rolled back is tried again a few times.

        Raises Refusal.
        """
        if (transaction := _transaction.get()) is not None:
            return await _execute(transaction, statement, parameters)

        async def attempt() -> Sequence[Row[Any]]:
            async with self._connection() as connection:
                return await _execute(connection, statement, parameters)

        return await _try_again(attempt, "outcome_unknown" if is_read else "")

    @property
    def is_in_transaction(self) -> bool:
        """Whether this task's calls go into the transaction of `in_transaction`."""
        return _transaction.get() is not None

    async def call_driver(self, query: str, *arguments: Any) -> Any:
        """The one row of a function that writes, for the driver (`$1`), past SQLAlchemy.

        SQLAlchemy's part of a call is 220 us, most of what calling the hottest function costs.
        Raises Refusal.
        """

        async def fetch(connection: AsyncConnection) -> Any:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver
            try:
                return await driver.fetchrow(query, *arguments)
            except DRIVER_ERRORS as error:
                raise _explain(error) from error

        if (transaction := _transaction.get()) is not None:
            return await fetch(transaction)

        async def attempt() -> Any:
            async with self._connection() as connection:
                return await fetch(connection)

        return await _try_again(attempt)

    async def in_transaction(self, work: Callable[[], Awaitable[tuple[T, bool]]]) -> T:
        """What `work` returns, all its calls in one transaction, committed if it also says so.

        `work` may be done again from the start, when what it did was rolled back. Raises Refusal.
        """

        async def attempt() -> T:
            async with self._connection() as connection:
                await connection.execution_options(isolation_level="READ COMMITTED")
                token = _transaction.set(connection)
                try:
                    result, is_good = await work()
                    if is_good:
                        await connection.commit()
                    return result
                except (DBAPIError, TimeoutError) as error:
                    raise _explain(error) from error
                finally:
                    _transaction.reset(token)
                    if connection.in_transaction() and not connection.invalidated:
                        await asyncio.shield(connection.rollback())

        return await _try_again(attempt)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; given up when it was lost."""
        connection = await self._checkout()
        try:
            yield connection
        except Refusal as refusal:
            if refusal.code in ("outcome_unknown", "database_unavailable"):
                await connection.invalidate()
            raise
        finally:
            await asyncio.shield(connection.close())

    async def _checkout(self) -> AsyncConnection:
        """A connection of the pool, or a Refusal: nothing was sent yet, so nothing happened."""
        connection = self.engine.connect()
        try:
            return await connection.start()
        except PoolTimeoutError as error:
            raise Refusal("overloaded") from error
        except (DBAPIError, OSError, TimeoutError, asyncpg.PostgresError) as error:
            logger.warning("No connection to PostgreSQL: %s", error)
            raise Refusal("database_unavailable") from error

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


async def _execute(
    connection: AsyncConnection, statement: TextClause, parameters: dict[str, Any]
) -> Sequence[Row[Any]]:
    try:
        result = await connection.execute(statement, parameters)
        return result.all()
    except (DBAPIError, TimeoutError) as error:
        raise _explain(error) from error


async def _try_again(attempt: Callable[[], Awaitable[T]], also: str = "") -> T:
    """What `attempt` returns, tried again a few times when it was certainly rolled back."""
    for _ in range(1, ATTEMPTS):
        try:
            return await attempt()
        except Refusal as refusal:
            if refusal.code not in ("conflict", also):
                raise
    return await attempt()


def _explain(error: Exception) -> Refusal:
    """Which refusal an error during a call means; a bug in a function is raised as it is."""
    # The driver's own error: SQLAlchemy's copy of "cached plan must not change" has lost the state.
    orig = error.orig if isinstance(error, DBAPIError) else None
    cause = (orig.__cause__ or orig) if orig else error
    state = getattr(cause, "sqlstate", None)
    if state in ROLLED_BACK:
        return Refusal("conflict")
    if state in BUSY:
        return Refusal("database_busy")
    if state == "22003":  # numeric_value_out_of_range
        return Refusal("out_of_range")
    if state in NOTHING_DONE:
        logger.error("PostgreSQL cannot serve this: %s", cause)
        return Refusal("database_unavailable")
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if state in GONE or state is None or state.startswith("08") or is_lost:
        logger.warning("Connection lost during a call: %s", cause or "no answer in time")
        return Refusal("outcome_unknown")
    if state.startswith("53"):  # disk full, out of memory, too many connections
        logger.error("PostgreSQL is out of resources: %s", cause)
        return Refusal("database_unavailable")
    raise error


def _refuse_closed(dbapi_connection: Any, record: Any, proxy: Any) -> None:
    """Keep a call from being sent on a connection that is known to be closed."""
    if dbapi_connection.driver_connection.is_closed():
        raise DisconnectionError


def _drop(dbapi_connection: Any, record: Any, exception: BaseException | None) -> None:
    """Close what is given up at once: SQLAlchemy's goodbye would wait for a silent server."""
    dbapi_connection.driver_connection.terminate()
