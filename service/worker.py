"""The worker: does the jobs that domains and the outbox register with it; see service/jobs.py."""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress

from service import domains
from service.database.pool import Database
from service.delivery import Channel, outbox
from service.delivery.mail import Mail
from service.delivery.webhook import Webhook
from service.domains import reports
from service.jobs import Found, Job
from service.results import Refusal
from service.settings import Settings
from service.web import idempotency

PAUSE_SECONDS = 1.0
"""Before what failed is begun again."""
FINISH_SECONDS = 15.0
"""For what is under way when the worker is stopped."""
CONNECTIONS = 4

logger = logging.getLogger("holdfast.worker")


async def run_worker(settings: Settings, dsn: str, stop: asyncio.Event) -> None:
    """Work until `stop` is set, then finish what is under way."""
    channels = open_channels(settings, dsn)
    database = Database(dsn, role="holdfast_worker", connections=CONNECTIONS)
    if not settings.telegram_bot_token:
        logger.info("No daily report is sent: HOLDFAST_TELEGRAM_BOT_TOKEN is not set")
    if not settings.smtp_url:
        logger.info("No mail is sent: HOLDFAST_SMTP_URL is not set")
    logger.info("The worker works")
    try:
        await Worker(find_jobs(settings, channels), database, stop).run()
    finally:
        for channel in channels:
            await channel.close()
        await database.close()


def open_channels(settings: Settings, dsn: str) -> list[Channel]:
    """The channels that the settings configure; only their modules are imported."""
    channels: list[Channel] = [Mail(settings), Webhook(settings)]
    if settings.telegram_bot_token:
        from service.delivery.telegram import Telegram

        source = reports.Source(dsn, "holdfast_worker", settings.time_zone)
        channels.append(Telegram(settings, source))
    return channels


def find_jobs(settings: Settings, channels: Sequence[Channel]) -> list[Job]:
    """All jobs there are."""
    modules = [*domains.find(), outbox, idempotency]
    found = [outbox.Delivering(channel).job for channel in channels]
    for module in modules:
        if hasattr(module, "jobs"):
            found += module.jobs(settings)
    return found


class Worker:
    """Does each job again and again, for one store or target once at a time."""

    def __init__(self, jobs: Sequence[Job], database: Database, stop: asyncio.Event) -> None:
        self._jobs, self._database, self._stop = jobs, database, stop
        self._under_way: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._look_now = {job.name: asyncio.Event() for job in jobs}

    async def run(self) -> None:
        """Look and work until told to stop; then finish what is under way, if it is soon."""
        looking = [asyncio.create_task(self._keep_looking(job)) for job in self._jobs]
        await self._stop.wait()
        logger.info("The worker stops: what is under way is finished")
        for event in self._look_now.values():
            event.set()
        await asyncio.gather(*looking)
        doing = self._under_way.values()
        _, unfinished = await asyncio.wait(doing, timeout=FINISH_SECONDS) if doing else ((), ())
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    async def _keep_looking(self, job: Job) -> None:
        look_now = self._look_now[job.name]
        while not self._stop.is_set():
            look_now.clear()
            try:
                self._begin(job, await job.find(self._database))
                await _wait(look_now, job.every)
            except Refusal:  # the database has said why in the log
                await _wait(self._stop, PAUSE_SECONDS)
            except Exception:
                logger.exception("The worker cannot look for %s", job.name)
                await _wait(self._stop, 10 * PAUSE_SECONDS)  # somebody has to mend it

    def _begin(self, job: Job, found: Sequence[Found]) -> None:
        """Begin what there is to do, as much as there is room for."""
        room = job.at_once - sum(name == job.name for name, *_ in self._under_way)
        for each in random.sample(found, len(found)):  # or some would always be the last
            key = (job.name, *each.key)
            if room > 0 and key not in self._under_way and not self._stop.is_set():
                room -= 1
                self._under_way[key] = asyncio.create_task(self._do(job, each, key))

    async def _do(self, job: Job, found: Found, key: tuple[str, ...]) -> None:
        """Do a job for one store or target; look again at once where there may be more of it."""
        is_more = False
        try:
            is_more = await job.do(self._database, found)
        except Refusal as refusal:
            logger.warning("%s is left for later: %s", " ".join(key), refusal.code)
            await _wait(self._stop, PAUSE_SECONDS)
        except Exception:
            logger.exception("%s failed", " ".join(key))
            await _wait(self._stop, PAUSE_SECONDS)
        finally:
            del self._under_way[key]
        if is_more:
            self._look_now[job.name].set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
