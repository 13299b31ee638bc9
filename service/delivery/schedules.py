"""Schedules: messages that a store sends by itself, at the times of a cron by local clocks."""

import logging
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from croniter import croniter
from sqlalchemy import text

from service.database.pool import Database
from service.jobs import Found, Job, found_by

FIND_DUE_SCHEDULES = text("SELECT * FROM find_due_schedules(:name, :cron, :time_zone)")
KEEP_SCHEDULE = text(
    "SELECT * FROM keep_schedule(:store_id, :name, :cron, :time_zone, :channel,"
    " CAST(:payload AS jsonb), :due_at)"
)
FIRE_SCHEDULE = text("SELECT * FROM fire_schedule(:store_id, :name, :due_at, :next_due_at)")

EVERY = 1.0

logger = logging.getLogger("holdfast.worker")


class Schedule(NamedTuple):
    """A message of every store, and when."""

    name: str
    cron: str
    time_zone: str
    channel: str
    payload: str
    """As JSON."""


class _Kept(msgspec.Struct, frozen=True):
    """What keep_schedule answers."""

    due_at: datetime


def job_of(schedule: Schedule) -> Job:
    """The job that sets a schedule for stores that have none, and fires it when it is due."""
    clock = {"name": schedule.name, "cron": schedule.cron, "time_zone": schedule.time_zone}

    async def fire(database: Database, found: Found) -> bool:
        assert found.found_at
        zone, now = schedule.time_zone, found.found_at
        kept = await database.call(
            KEEP_SCHEDULE,
            store_id=found.store_id,
            due_at=next_due(schedule.cron, zone, now),
            **schedule._asdict(),
        )
        due_at = msgspec.json.decode(kept.document, type=_Kept).due_at
        row = await database.call(
            FIRE_SCHEDULE,
            store_id=found.store_id,
            name=schedule.name,
            due_at=due_at,
            next_due_at=next_due(schedule.cron, zone, max(due_at, before_today(zone, now))),
        )
        fields = {"store_id": found.store_id, "due_at": due_at, "code": row.result_code}
        logger.info("The schedule %s was looked at", schedule.name, extra={"fields": fields})
        return False

    return Job(schedule.name, found_by(FIND_DUE_SCHEDULES, **clock), fire, EVERY)


def next_due(cron: str, time_zone: str, after: datetime) -> datetime:
    """The first time of a cron after `after`, by the clocks of a time zone.

    What falls into the hour that is left out in spring comes at its end; what comes twice in
    autumn counts the first time.
    """
    zone = ZoneInfo(time_zone)
    due: datetime = croniter(cron, after.astimezone(zone)).get_next(datetime).astimezone(UTC)
    return next_due(cron, time_zone, due) if due.astimezone(zone).fold else due


def before_today(time_zone: str, now: datetime) -> datetime:
    """The moment before the day of `now` began where the clocks show `time_zone`."""
    midnight = now.astimezone(ZoneInfo(time_zone)).replace(
        hour=0, minute=0, second=0, microsecond=0, fold=0
    )
    return midnight.astimezone(UTC) - timedelta(microseconds=1)
