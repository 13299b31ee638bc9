"""The worker: deliver messages, write lapsed holds down, fire schedules, forget what is old.

Twice a second it asks in one call which stores have something to do, and starts a job for each
kind of work that none is under way for: so a slow delivery holds up nothing but its own channel,
and a job that fails is simply found again. Any number of workers may run: the database leases each
message, and gives each schedule, to one of them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from croniter import croniter
from sqlalchemy import TextClause, text

from service.database.pool import Database
from service.delivery import Channel, Message, Postponed, Undeliverable, open_channels
from service.results import Refusal, is_error
from service.settings import Settings

FIND_WORK = text(
    "SELECT * FROM find_work(CAST(:channels AS text[]), :schedule, :cron, :time_zone, :keep)"
)
EXPIRE_RESERVATIONS = text(
    "SELECT result_code, expired_count AS done FROM expire_reservations(:store_id, :limit)"
)
TAKE_MESSAGES = text("SELECT * FROM take_messages(:store_id, :channel, :limit, :lease)")
FINISH_MESSAGE = text("SELECT * FROM finish_message(:store_id, :message_id, :attempt)")
SPLIT_MESSAGE = text(
    "SELECT * FROM split_message(:store_id, :message_id, :attempt, CAST(:payloads AS jsonb))"
)
RETRY_MESSAGE = text("SELECT * FROM retry_message(:store_id, :message_id, :attempt, :error, :wait)")
BURY_MESSAGE = text("SELECT * FROM bury_message(:store_id, :message_id, :attempt, :error)")
CLEAN_OUTBOX = text(
    "SELECT result_code, deleted_count AS done FROM clean_outbox(:store_id, :keep, :limit)"
)
SET_SCHEDULE = text(
    "SELECT * FROM set_schedule(:store_id, :name, :cron, :time_zone, :channel,"
    " CAST(:payload AS jsonb), :due_at)"
)
CLAIM_SCHEDULE = text("SELECT * FROM claim_schedule(:store_id, :name, :due_at, :next_due_at)")

FORGET_IDEMPOTENCY_KEYS = text(
    "SELECT result_code, forgotten_count AS done FROM forget_idempotency_keys(:store_id, :limit)"
)

POLL_SECONDS = 0.5
PAUSE_SECONDS = 1.0
"""Before a job that failed is begun again."""
DELIVERY_SECONDS = 60.0
LEASE = timedelta(seconds=120)
"""Longer than a delivery, and what it takes to say how it went."""
FINISH_SECONDS = 15.0
"""For what is under way when the worker is stopped."""
ROWS_AT_ONCE = 1000
"""How many rows one call writes down or forgets, so that it is short."""
KEEP = timedelta(days=30)
"""How long delivered messages are kept."""

DAILY_REPORT = "daily_report"
REPORT = {"channel": "telegram", "payload": '{"kind": "report"}'}

logger = logging.getLogger("holdfast.worker")


async def run_worker(settings: Settings, dsn: str, stop: asyncio.Event) -> None:
    """Work until `stop` is set, then finish what is under way."""
    channels = open_channels(settings, dsn)
    database = Database(dsn, role="holdfast_worker", connections=4)
    if not any(channel.name == REPORT["channel"] for channel in channels):
        logger.info("No daily report is sent: HOLDFAST_TELEGRAM_BOT_TOKEN is not set")
    logger.info("The worker works")
    try:
        await Worker(settings, database, channels, stop).run()
    finally:
        for channel in channels:
            await channel.close()
        await database.close()


class Worker:
    """What is under way, by name of the job, and which jobs wait a little."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        channels: Sequence[Channel],
        stop: asyncio.Event,
    ) -> None:
        self._database, self._stop = database, stop
        self._channels = {channel.name: channel for channel in channels}
        hour, minute = settings.report_time.split(":")
        self._cron = f"{int(minute)} {int(hour)} * * *"
        self._time_zone = settings.time_zone
        self._jobs: dict[str, asyncio.Task[bool]] = {}
        self._paused_until: dict[str, float] = {}
        self._look = asyncio.Event()

    async def run(self) -> None:
        """Look and work until told to stop; then finish what is under way, if it is soon."""
        stopped = asyncio.create_task(self._stop.wait())
        stopped.add_done_callback(lambda _: self._look.set())
        while not self._stop.is_set():
            self._look.clear()
            pause = POLL_SECONDS
            try:
                await self._start_jobs()
            except Refusal:  # the database has said why in the log
                pause = PAUSE_SECONDS
            except Exception:
                logger.exception("The worker cannot look for work")
                pause = 10 * PAUSE_SECONDS  # somebody has to mend it, such as a missing right
            try:
                async with asyncio.timeout(pause):
                    await self._look.wait()
            except TimeoutError:
                continue
        jobs = self._jobs.values()
        _, unfinished = await asyncio.wait(jobs, timeout=FINISH_SECONDS) if jobs else ((), ())
        for job in unfinished:
            job.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _start_jobs(self) -> None:
        found = await self._database.rows(
            FIND_WORK,
            {
                "channels": [name for name in self._channels if not self._is_busy(name)],
                "schedule": DAILY_REPORT if REPORT["channel"] in self._channels else None,
                "cron": self._cron,
                "time_zone": self._time_zone,
                "keep": KEEP,
            },
            is_read=True,
        )
        for name in {name for row in found for name in row.due_channels}:
            stores = [row.store_id for row in found if name in row.due_channels]
            self._start(name, self._deliver, self._channels[name], stores)
        if lapsed := [row.store_id for row in found if row.has_lapsed]:
            self._start("expiry", self._expire, lapsed)
        if due := [(row.store_id, row.checked_at) for row in found if row.is_schedule_due]:
            self._start("schedule", self._fire, due)
        if old := [row.store_id for row in found if row.has_old]:
            self._start("cleaning", self._clean, old)

    def _is_busy(self, name: str) -> bool:
        return name in self._jobs or self._is_paused(name)

    def _is_paused(self, name: str) -> bool:
        return self._paused_until.get(name, 0) > asyncio.get_running_loop().time()

    def _pause(self, name: str, seconds: float) -> None:
        self._paused_until[name] = asyncio.get_running_loop().time() + seconds

    def _start(self, name: str, job: Callable[..., Awaitable[bool]], *arguments: Any) -> None:
        """Begin a job, unless it is under way or paused."""
        if not self._is_busy(name):
            self._jobs[name] = asyncio.create_task(self._run(name, job, *arguments))

    async def _run(self, name: str, job: Callable[..., Awaitable[bool]], *arguments: Any) -> bool:
        """Do a job; look again at once when it says that there may be more of it."""
        is_more = False
        try:
            is_more = await job(*arguments)
        except Refusal:  # the database has said why in the log
            self._pause(name, PAUSE_SECONDS)
        except Exception:
            logger.exception("The worker's %s failed", name)
            self._pause(name, PAUSE_SECONDS)
        finally:
            del self._jobs[name]
        if is_more:
            self._look.set()
        return is_more

    async def _deliver(self, channel: Channel, store_ids: Sequence[str]) -> bool:
        """Send what is due of a channel, some of each store; True if there was any."""
        count = 0
        for store_id in store_ids:
            if self._stop.is_set() or self._is_paused(channel.name):
                break
            taken = await self._database.rows(
                TAKE_MESSAGES,
                {
                    "store_id": store_id,
                    "channel": channel.name,
                    "limit": channel.concurrency,
                    "lease": LEASE,
                },
            )
            messages = [
                Message(store_id, row.message_id, row.attempt, msgspec.json.decode(row.payload))
                for row in taken
            ]
            attempts = (self._attempt(channel, message) for message in messages)
            for outcome in await asyncio.gather(*attempts, return_exceptions=True):
                if outcome:
                    raise outcome
            count += len(messages)
        return count > 0

    async def _attempt(self, channel: Channel, message: Message) -> None:
        """Deliver a message, and write down how it went."""
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                parts = await channel.deliver(message)
        except Undeliverable as error:
            _log_failure(channel, message, error)
            await self._settle(message, BURY_MESSAGE, error=_said(error))
        except Postponed as error:
            _log_failure(channel, message, error)
            self._pause(channel.name, error.seconds)
            wait = timedelta(seconds=error.seconds)
            await self._settle(message, RETRY_MESSAGE, error=_said(error), wait=wait)
        except Exception as error:
            _log_failure(channel, message, error)
            await self._settle(message, RETRY_MESSAGE, error=_said(error), wait=None)
        else:
            if parts:
                payloads = msgspec.json.encode(parts).decode()
                await self._settle(message, SPLIT_MESSAGE, payloads=payloads)
            else:
                await self._settle(message, FINISH_MESSAGE)

    async def _settle(self, message: Message, statement: TextClause, **parameters: Any) -> None:
        """Say how a delivery went, again and again while the database is away: what nobody
        knows to be delivered is delivered again.
        """
        ids = {
            "store_id": message.store_id,
            "message_id": message.message_id,
            "attempt": message.attempt,
        }
        async with asyncio.timeout(LEASE.total_seconds()):
            while True:
                try:
                    row = await self._database.call(statement, **ids, **parameters)
                    break
                except Refusal:
                    await asyncio.sleep(PAUSE_SECONDS)
        if is_error(row.result_code):
            logger.warning(
                "A delivery came too late", extra={"fields": ids | {"code": row.result_code}}
            )

    async def _expire(self, store_ids: Sequence[str]) -> bool:
        """Write down that holds have lapsed, so that all who watch the stock hear of it."""
        return await self._each(store_ids, EXPIRE_RESERVATIONS)

    async def _clean(self, store_ids: Sequence[str]) -> bool:
        """Forget messages delivered long ago, and answers kept for long enough."""
        is_more = await self._each(store_ids, CLEAN_OUTBOX, keep=KEEP)
        return await self._each(store_ids, FORGET_IDEMPOTENCY_KEYS) or is_more

    async def _each(
        self, store_ids: Sequence[str], statement: TextClause, **parameters: Any
    ) -> bool:
        """Call a function for each store; one whose rows others hold is left for the next time.

        True if some store may have more than one call does.
        """
        is_more = False
        for store_id in store_ids:
            try:
                row = await self._database.call(
                    statement, store_id=store_id, limit=ROWS_AT_ONCE, **parameters
                )
                is_more |= row.done == ROWS_AT_ONCE
            except Refusal as refusal:
                logger.warning("Store %s is left for later: %s", store_id, refusal.code)
        return is_more

    async def _fire(self, due: Sequence[tuple[str, datetime]]) -> bool:
        """Set the schedule of stores that have none, and claim those that are due."""
        for store_id, now in due:
            schedule = await self._database.call(
                SET_SCHEDULE,
                store_id=store_id,
                name=DAILY_REPORT,
                cron=self._cron,
                time_zone=self._time_zone,
                due_at=next_due(self._cron, self._time_zone, now),
                **REPORT,
            )
            claim = await self._database.call(
                CLAIM_SCHEDULE,
                store_id=store_id,
                name=DAILY_REPORT,
                due_at=schedule.due_at,
                next_due_at=next_due(
                    self._cron,
                    self._time_zone,
                    max(schedule.due_at, before_today(self._time_zone, now)),
                ),
            )
            fields = {"store_id": store_id, "due_at": schedule.due_at, "code": claim.result_code}
            logger.info("The daily report was looked at", extra={"fields": fields})
        return False


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


def _said(error: Exception) -> str:
    """What an error says, as a text column can hold it."""
    said = f"{type(error).__name__}: {error}".rstrip(": ").replace("\0", "")
    return said[:1000].encode(errors="replace").decode()


def _log_failure(channel: Channel, message: Message, error: Exception) -> None:
    fields = {
        "channel": channel.name,
        "store_id": message.store_id,
        "message_id": message.message_id,
        "attempt": message.attempt,
        "error": _said(error),
    }
    logger.warning("A message was not delivered", extra={"fields": fields})
