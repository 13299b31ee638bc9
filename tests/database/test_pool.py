"""The pool: a budget in shares, one patience, and what becomes of connections gone silent."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from service.app import create_app
from service.database import pool
from service.database.pool import CONNECTIONS, LEAST_LEFT, Database, begin_patience
from service.results import Refusal
from service.settings import Settings
from tests.support.proxy import Link, link_to

PID = text("SELECT pg_backend_pid() AS pid, pg_sleep(:seconds)")


@pytest.fixture
async def link(dsn: str) -> AsyncIterator[Link]:
    async with link_to(dsn) as link:
        yield link


@pytest.fixture
async def database(link: Link, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database by way of the link, whose callers wait for a second and a half."""
    monkeypatch.setattr(pool, "CALL_SECONDS", 1.5)
    monkeypatch.setattr(pool, "SHORTEST_CALL", 0.2)
    database = Database(link.url)
    yield database
    await database.close()


async def pids(database: Database, count: int) -> set[int]:
    """The server's processes behind so many connections at once."""
    rows = await asyncio.gather(*(database.read(PID, seconds=0.2) for _ in range(count)))
    return {row.pid for row in rows}


async def test_what_the_application_claims_is_within_the_budget() -> None:
    database = Database("postgresql://nobody@nowhere/")
    create_app(Settings(), database)
    claimed = sum(share.size for share in database.shares)
    assert claimed > 0
    assert claimed + database.size == CONNECTIONS
    assert database.size >= LEAST_LEFT


async def test_a_claim_beyond_the_budget_or_after_the_first_call_is_a_defect(dsn: str) -> None:
    database = Database(dsn)
    with pytest.raises(AssertionError, match="are left"):
        database.share(CONNECTIONS - LEAST_LEFT + 1)
    share = database.share(1, lock_timeout="100ms")
    show = text("SELECT current_setting('lock_timeout') AS is_set")
    assert (await share.read(show)).is_set == "100ms"
    assert (await database.read(show)).is_set == "2s"
    with pytest.raises(AssertionError, match="before the first call"):
        database.share(1)
    await database.close()


async def test_a_share_is_served_while_all_other_connections_are_taken(dsn: str) -> None:
    database = Database(dsn)
    share = database.share(1)
    taken = [asyncio.create_task(database.read(PID, seconds=2)) for _ in range(database.size + 1)]
    await asyncio.sleep(0.3)
    began = time.monotonic()
    await share.read(PID, seconds=0)
    assert time.monotonic() - began < 1
    refused = [one for one in await asyncio.gather(*taken, return_exceptions=True)
               if isinstance(one, Refusal)]  # fmt: skip
    assert [refusal.code for refusal in refused] == ["overloaded"]
    await database.close()


@pytest.mark.parametrize(
    ("is_read", "code"), [(True, "database_unavailable"), (False, "outcome_unknown")]
)
async def test_the_calls_of_one_request_share_begin_patience(
    database: Database, link: Link, is_read: bool, code: str
) -> None:
    await database.read(PID, seconds=0)
    began = time.monotonic()
    begin_patience()
    await database.read(PID, seconds=1)
    link.silence()
    with pytest.raises(Refusal) as refusal:
        await database.rows(PID, {"seconds": 0}, is_read=is_read)
    assert refusal.value.code == code
    assert 1.4 < time.monotonic() - began < 2.5


async def test_connections_of_a_silent_server_are_given_up_together(
    database: Database, link: Link
) -> None:
    share = database.share(2)
    before = await pids(database, 4) | await pids(share, 2)
    assert len(before) == 6
    link.silence()
    with pytest.raises(Refusal, match="outcome_unknown"):
        await database.call(PID, seconds=0)
    link.heal()
    assert not before & (await pids(database, 4) | await pids(share, 2))
