"""Schedules: due by the clocks of a place, fired once whoever tries, late only on the same day."""

import asyncio
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from service.delivery.schedules import before_today, next_due
from tests.support.aliases import Connect

CRON = "0 21 * * *"
ZONE = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        (CRON, "UTC", "2026-11-21 20:59:59", "2026-11-21 21:00"),
        (CRON, "UTC", "2026-11-21 21:00", "2026-11-22 21:00"),
        # Summer time ends on 25 October 2026 in Berlin, and begins on 28 March 2027.
        (CRON, ZONE, "2026-10-24 18:59:59", "2026-10-24 19:00"),
        (CRON, ZONE, "2026-10-24 19:00", "2026-10-25 20:00"),
        (CRON, ZONE, "2027-03-27 20:00", "2027-03-28 19:00"),
        # 02:30 comes twice, and not at all.
        ("30 2 * * *", ZONE, "2026-10-24 12:00", "2026-10-25 00:30"),
        ("30 2 * * *", ZONE, "2026-10-25 00:30", "2026-10-26 01:30"),
        ("30 2 * * *", ZONE, "2027-03-27 12:00", "2027-03-28 01:00"),
        # In Santiago midnight is left out, and half past eleven comes twice.
        ("0 0 * * *", "America/Santiago", "2026-09-05 12:00", "2026-09-06 04:00"),
        ("30 23 * * *", "America/Santiago", "2026-04-05 02:30", "2026-04-06 03:30"),
    ],
)
def test_the_next_time_is_told_by_local_clocks(cron: str, zone: str, after: str, due: str) -> None:
    assert next_due(cron, zone, at(after)) == at(due)


@pytest.mark.parametrize("zone", ["UTC", ZONE, "America/Santiago", "Australia/Lord_Howe"])
@pytest.mark.parametrize("time", ["21:00", "02:15", "00:00", "23:30"])
def test_a_daily_time_comes_once_on_each_day(zone: str, time: str) -> None:
    hour, minute = map(int, time.split(":"))
    days, due = Counter[date](), at("2026-01-01")
    while len(days) < 366:
        due = next_due(f"{minute} {hour} * * *", zone, due)
        days[due.astimezone(ZoneInfo(zone)).date()] += 1
    assert set(days.values()) == {1}
    assert max(days) - min(days) == timedelta(days=365)


def test_a_day_begins_at_local_midnight() -> None:
    microsecond = timedelta(microseconds=1)
    for zone, now, begins in (
        ("UTC", "2026-11-21 00:00", "2026-11-21 00:00"),
        (ZONE, "2026-10-25 22:59", "2026-10-24 22:00"),
        (ZONE, "2026-10-25 23:00", "2026-10-25 23:00"),
        ("America/Santiago", "2026-09-06 12:00", "2026-09-06 04:00"),
    ):
        assert before_today(zone, at(now)) == at(begins) - microsecond


@pytest.fixture
async def worker(sql: Any, connect_as: Connect) -> Any:
    await sql.execute("SELECT create_store('main')")
    return await connect_as("worker")


async def keep(worker: Any, due_at: datetime, cron: str = CRON, zone: str = ZONE) -> Any:
    """(code, when it is due)"""
    row = await worker.fetchrow(
        "SELECT * FROM keep_schedule('main', 'daily', $1, $2, 'telegram', '{\"a\": 1}', $3)",
        *(cron, zone, due_at),
    )
    return row["result_code"], datetime.fromisoformat(json.loads(row["document"])["due_at"])


async def fire(worker: Any, due_at: datetime, following: datetime | None = None) -> Any:
    """(code, whether a message was written)"""
    row = await worker.fetchrow(
        "SELECT * FROM fire_schedule('main', 'daily', $1, $2)",
        *(due_at, following or due_at + timedelta(days=1)),
    )
    document = json.loads(row["document"] or "{}")
    return row["result_code"], document.get("message_id") is not None


async def now(sql: Any) -> datetime:
    moment: datetime = await sql.fetchval("SELECT clock_timestamp()")
    return moment


async def test_it_fires_once_when_its_time_has_come(sql: Any, worker: Any) -> None:
    assert await fire(worker, await now(sql)) == ("unknown_schedule", False)
    due = await now(sql)
    assert await keep(worker, due) == ("ok", due)
    assert await keep(worker, due + timedelta(hours=1)) == ("already_exists", due)
    assert await fire(worker, due, due) == ("invalid_request", False)
    assert await fire(worker, due) == ("ok", True)
    assert await fire(worker, due) == ("already_fired", False)
    assert await fire(worker, due + timedelta(days=1)) == ("not_due", False)
    row = await sql.fetchrow("SELECT channel, payload FROM outbox")
    assert tuple(row) == ("telegram", '{"a": 1}')
    assert await sql.fetchval("SELECT fired_at >= $1 FROM schedules", due)


async def test_a_changed_schedule_begins_anew(sql: Any, worker: Any) -> None:
    due = await now(sql)
    await keep(worker, due)
    later = due + timedelta(hours=1)
    assert await keep(worker, later, zone="UTC") == ("ok", later)
    assert await fire(worker, due) == ("already_fired", False)
    assert await fire(worker, later) == ("not_due", False)


async def test_two_workers_fire_it_once(sql: Any, worker: Any, connect_as: Connect) -> None:
    due = await now(sql)
    await keep(worker, due)
    second = await connect_as("worker")
    transaction = worker.transaction()
    await transaction.start()
    assert await fire(worker, due) == ("ok", True)
    waiting = asyncio.create_task(fire(second, due))
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
    while not await sql.fetchval(blocked):
        await asyncio.sleep(0.01)
    await transaction.commit()
    assert await waiting == ("already_fired", False)
    assert await sql.fetchval("SELECT count(*) FROM outbox") == 1


@pytest.mark.parametrize(
    ("hours_ahead", "is_sent"),
    # On the other side of midnight where the clocks show it, or not, whatever the day in UTC.
    [(0, True), (-30, False)],
)
async def test_what_was_missed_is_sent_on_the_same_day_only(
    sql: Any, worker: Any, hours_ahead: int, is_sent: bool
) -> None:
    due = await now(sql) + timedelta(hours=hours_ahead)
    await keep(worker, due)
    assert await fire(worker, due) == ("ok", is_sent)
    assert await sql.fetchval("SELECT fired_at IS NOT NULL FROM schedules") == is_sent
    assert await fire(worker, due) == ("already_fired", False)


async def test_the_same_day_is_that_of_the_time_zone(sql: Any, worker: Any) -> None:
    """Of two zones 24 hours apart one always has a midnight between an hour ago and now, or not."""
    for zone in ("Etc/GMT+12", "UTC", "Etc/GMT-12"):
        for hours in range(1, 24):
            moment = await now(sql)
            due = moment - timedelta(hours=hours)
            await sql.execute("DELETE FROM schedules")
            await keep(worker, due, zone=zone)
            local = ZoneInfo(zone)
            is_today = due.astimezone(local).date() == moment.astimezone(local).date()
            assert await fire(worker, due) == ("ok", is_today)


async def test_it_is_found_where_it_is_due_or_not_set_so(sql: Any, worker: Any) -> None:
    async def is_found(cron: str = CRON) -> bool:
        query = "SELECT * FROM find_due_schedules('daily', $1, $2)"
        row = await worker.fetchrow(query, cron, ZONE)
        found = json.loads(row["document"])
        for each in found:
            assert each["store_id"] == "main"
            assert abs(datetime.fromisoformat(each["found_at"]) - await now(sql)).seconds < 60
        return len(found) == 1

    assert await is_found()
    later = await now(sql) + timedelta(hours=1)
    await keep(worker, later)
    assert not await is_found()
    assert await is_found("0 22 * * *")
    await sql.execute("UPDATE schedules SET due_at = clock_timestamp()")
    assert await is_found()
