"""The database: a budget of connections in shares, and one way to call one stored function.

A call is one statement in autocommit: the function is the transaction. What PostgreSQL or the
network answers instead of a row becomes a Refusal; service/database/outcomes.py says which.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cached_property
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Row, event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool
from sqlalchemy.sql.elements import TextClause

from service.database.connections import CALL_SECONDS, connect, is_pooled
from service.database.outcomes import explain
from service.results import Refusal

logger = logging.getLogger("holdfast.database")

CONNECTIONS = 22
"""Of one API process: the whole budget. Whoever needs connections of their own claims a share."""
LEAST_LEFT = 8
"""For all that claims no share."""
POOL_SECONDS = 0.8
"""How long a call waits for a connection: an overloaded service says so within a second."""
SHORTEST_CALL = 1.0
"""Seconds that a call is given, also when its request has no patience left."""
SILENT = 0.75
"""Of the longest call: an answer that takes so long comes from no server that works."""
ATTEMPTS = 4
COMPLAINT_SECONDS = 1.0
"""Between lines of the log that say the same of every caller."""
LOST = {"outcome_unknown", "database_unavailable"}
"""Refusals of a call after which its connection is given up."""
# TimeoutError is an OSError; an InternalClientError says that the server had ended the connection,
# but not closed it yet. SQLAlchemy lets both pass as they are.
CALL_ERRORS = (DBAPIError, OSError, asyncpg.InternalClientError)

T = TypeVar("T")

_transaction: ContextVar[AsyncConnection | None] = ContextVar("_transaction", default=None)
"""Where the calls of this task go inside of `in_transaction`."""


class _Patience:
    """How many seconds the calls of one request may still wait for the database."""

    def __init__(self, waited: float = 0.0) -> None:
        self.left = CALL_SECONDS - waited


class _Trusted:
    """Since when connections have to be open to be used; shared by a database's shares."""

    def __init__(self) -> None:
        self.since = 0.0
        self.complained_at = -COMPLAINT_SECONDS
        """When the log was told last that there is no connection."""


_patience: ContextVar[_Patience | None] = ContextVar("_patience", default=None)


def begin_patience(waited: float = 0.0) -> None:
    """Let all calls of this task from now on, one after another, wait no longer than one may.

    Of that so many seconds were waited already.
    """
    _patience.set(_Patience(waited))


def in_transaction() -> bool:
    """Whether this task's calls go into the transaction of `Database.in_transaction`."""
    return _transaction.get() is not None


class Database:
    """Connections to one database, working as one role; and the shares that were claimed of them.

    A share is a pool of its own, so that no kind of work takes another's connections. Shares are
    claimed while the application is put together; what is left is for all other calls.
    """

    def __init__(
        self,
        dsn: str,
        *,
        role: str = "holdfast_service",
        connections: int = CONNECTIONS,
        listen_dsn: str = "",
        **settings: str,
    ) -> None:
        self.dsn = dsn
        self.listen_dsn = listen_dsn or dsn
        """Where LISTEN works, also if `dsn` leads through a pooler."""
        self.size = connections
        """How many connections are left for whoever has claimed none."""
        self.shares: list[Database] = []
        self._role, self._settings = role, settings
        self._trusted = _Trusted()

    def share(self, connections: int, **settings: str) -> "Database":
        """So many connections set apart for one kind of work, with these settings beside ours.

        AssertionError where too few would be left.
        """
        assert "engine" not in self.__dict__, "shares are claimed before the first call"
        assert self.size - connections >= LEAST_LEFT, f"{self.size} connections are left"
        self.size -= connections
        share = Database(self.dsn, role=self._role, connections=connections, **settings)
        share.listen_dsn = self.listen_dsn
        share._trusted = self._trusted
        self.shares.append(share)
        return share

    @cached_property
    def engine(self) -> AsyncEngine:
        """The pool, made when it is first used."""

        async def open_connection() -> Any:
            return await connect(self.dsn, self._role, CALL_SECONDS, **self._settings)

        arguments: dict[str, Any] = {"async_creator_fn": open_connection}
        if is_pooled(self.dsn):
            arguments["prepared_statement_cache_size"] = 0
        engine = create_async_engine(
            "postgresql+asyncpg://",
            connect_args=arguments,
            isolation_level="AUTOCOMMIT",
            pool_size=self.size,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            pool_reset_on_return=None,
            json_deserializer=str,  # documents pass through as the text the database built
        )
        event.listen(engine.sync_engine, "connect", _note_opening)
        event.listen(engine.sync_engine, "checkout", self._refuse_lost)
        event.listen(engine.sync_engine, "invalidate", _drop)
        return engine

    @property
    def taken(self) -> int:
        """How many of its own connections are in use now."""
        if "engine" not in self.__dict__:
            return 0
        pool = self.engine.pool
        assert isinstance(pool, AsyncAdaptedQueuePool)
        return pool.checkedout()

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
            return await self._execute(transaction, statement, parameters)

        async def attempt() -> Sequence[Row[Any]]:
            async with self._connection() as connection:
                return await self._execute(connection, statement, parameters)

        return await _try_again(attempt, is_read=is_read)

    @property
    def is_in_transaction(self) -> bool:
        """Whether this task's calls go into the transaction of `in_transaction`."""
        return in_transaction()

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
                        async with self._waiting():
                            await connection.commit()
                    return result
                except CALL_ERRORS as error:
                    raise explain(error) from error
                finally:
                    _transaction.reset(token)
                    if connection.in_transaction() and not connection.invalidated:
                        await asyncio.shield(connection.rollback())

        return await _try_again(attempt)

    async def close(self) -> None:
        """Close every connection."""
        for share in self.shares:
            await share.close()
        if "engine" in self.__dict__:
            await self.engine.dispose()

    async def _execute(
        self, connection: AsyncConnection, statement: TextClause, parameters: dict[str, Any]
    ) -> Sequence[Row[Any]]:
        try:
            async with self._waiting():
                result = await connection.execute(statement, parameters)
            return result.all()
        except CALL_ERRORS as error:
            raise explain(error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool; given up when it was lost."""
        connection = await self._checkout()
        try:
            yield connection
        except Refusal as refusal:
            if refusal.code in LOST:
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
        except (DBAPIError, OSError, asyncpg.PostgresError) as error:
            if time.monotonic() - self._trusted.complained_at > COMPLAINT_SECONDS:
                logger.warning("No connection to PostgreSQL: %s", error)
                self._trusted.complained_at = time.monotonic()
            raise Refusal("database_unavailable") from error

    @asynccontextmanager
    async def _waiting(self) -> AsyncIterator[None]:
        """Wait for the server as long as the request has patience, else raise TimeoutError.

        A server that says nothing for longer than all its timeouts has gone silent for every
        connection that is open: all are given up.
        """
        patience = _patience.get() or _Patience()
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(SHORTEST_CALL, patience.left)):
                yield
        except TimeoutError:
            if time.monotonic() - began > SILENT * CALL_SECONDS:
                self._trusted.since = time.monotonic()
            raise
        finally:
            patience.left -= time.monotonic() - began

    def _refuse_lost(self, dbapi_connection: Any, record: Any, proxy: Any) -> None:
        """Keep a call from being sent on a connection that is lost."""
        if self._is_lost(record):
            raise DisconnectionError

    def _is_lost(self, connection: Any) -> bool:
        """Whether a connection of the pool is closed, or likely to be silent."""
        if connection.driver_connection.is_closed():
            return True
        return bool(connection.info["opened_at"] < self._trusted.since)


class Kept:
    """One connection of a share that is kept between calls, of which there is one at a time.

    A call spares what it costs to take it from the pool, and is never tried again.
    """

    def __init__(self, share: Database) -> None:
        self._share = share
        self._connection: AsyncConnection | None = None
        self._pooled: Any = None

    async def call(self, statement: TextClause, **parameters: Any) -> Row[Any]:
        """The one row of a function. Raises Refusal."""
        connection = await self._open()
        try:
            return (await self._share._execute(connection, statement, parameters))[0]
        except Refusal as refusal:
            if refusal.code in LOST:
                await connection.invalidate()
            raise

    async def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _open(self) -> AsyncConnection:
        """The connection, another one if it was lost."""
        known = self._connection
        if known is not None and not known.invalidated and not self._share._is_lost(self._pooled):
            return known
        await self.close()
        self._connection = await self._share._checkout()
        self._pooled = await self._connection.get_raw_connection()
        return self._connection


async def _try_again(attempt: Callable[[], Awaitable[T]], *, is_read: bool = False) -> T:
    """What `attempt` returns, tried again a few times when it was certainly rolled back.

    What only reads is also tried again when its connection was lost, while there is patience.
    """
    token = None if _patience.get() else _patience.set(_Patience())
    try:
        for number in range(1, ATTEMPTS + 1):
            try:
                return await attempt()
            except Refusal as refusal:
                patience = _patience.get()
                is_last = number == ATTEMPTS or patience is None or patience.left <= 0
                is_lost_read = is_read and refusal.code == "outcome_unknown"
                if is_last and is_lost_read:
                    raise Refusal("database_unavailable") from refusal
                if is_last or not (is_lost_read or refusal.code == "conflict"):
                    raise
        raise AssertionError("the last attempt returns or raises")
    finally:
        if token:
            _patience.reset(token)


def _note_opening(dbapi_connection: Any, record: Any) -> None:
    record.info["opened_at"] = time.monotonic()


def _drop(dbapi_connection: Any, record: Any, exception: BaseException | None) -> None:
    """Close what is given up at once: SQLAlchemy's goodbye would wait for a silent server."""
    dbapi_connection.driver_connection.terminate()
