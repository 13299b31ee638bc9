"""Before anything is served: migrate, make the stores there are to be, wait where one has to."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import asyncpg
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from service.database import migrate
from service.database.connections import connected, dial
from service.database.pool import CONNECTIONS
from service.database.roles import OWNER, shortcomings
from service.settings import Settings

MIGRATION = "migration"
"""The name of the thread that migrates."""
PAUSE_SECONDS = 1.0
OTHERS = 10
"""Connections beside those of API processes: the worker's, feeds, commands, people."""

Fill = Callable[[str], Awaitable[None]]
"""What is to be done next, with the owner's URL."""

logger = logging.getLogger("holdfast.prepare")


async def prepare(settings: Settings, owner_dsn: str, fill: Fill) -> None:
    """Set the database up and fill it; wait for PostgreSQL if need be, and say what stands in the
    way. What this login or this release cannot do is left to others, and said.
    """
    told = ""
    while True:
        try:
            await set_up(settings, owner_dsn)
            await fill(owner_dsn)
            break
        except migrate.NotOwner as error:
            logger.info("Not migrated, that is left to its owner's login: %s", error)
            break
        except CommandError as error:  # an older release beside a newer one, or after it
            logger.warning("Not migrated, the schema is served as it is: %s", error)
            break
        except (asyncpg.PostgresError, DBAPIError, OSError) as error:
            said = str(getattr(error, "orig", None) or error)
            if _state_of(error) == "42501":
                logger.warning("Not migrated, this login is not the owner's: %s", said)
                break
            if said != told:
                is_away = isinstance(error, OSError)
                verb = "Waiting for PostgreSQL" if is_away else "PostgreSQL cannot be prepared yet"
                logger.warning("%s: %s", verb, said)
                told = said
        except Exception:
            logger.exception("The database could not be prepared; it is served as it is")
            break
        await asyncio.sleep(PAUSE_SECONDS)
    await _say_what_it_is(settings, owner_dsn)


async def set_up(settings: Settings, owner_dsn: str) -> None:
    """Migrate to this release's schema, and make the stores that the settings name."""
    await upgrade_apart(owner_dsn)
    async with connected(owner_dsn, OWNER) as connection:
        for store_id in (settings.store, *settings.stores.split()):
            await connection.fetchval("SELECT create_store($1)", store_id)


async def upgrade_apart(dsn: str) -> None:
    """Migrate in a thread that nobody need wait for at the end, as they would for to_thread's.

    So a migration that waits for another one's lock does not keep SIGTERM from being obeyed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error = None
        try:
            migrate.upgrade(dsn)
        except Exception as caught:
            error = caught
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name=MIGRATION, daemon=True).start()
    await done


async def _say_what_it_is(settings: Settings, owner_dsn: str) -> None:
    """A line for each thing that is not as this release has it, as far as this login can see."""
    try:
        connection = await dial(owner_dsn)
        try:
            for sentence in await shortcomings(connection):
                logger.warning("%s", sentence)
            allowed = int(await connection.fetchval("SHOW max_connections"))
            state = await migrate.state_of(connection)
            zones = "SELECT count(*) FROM pg_timezone_names WHERE lower(name) = lower($1)"
            is_known = await connection.fetchval(zones, settings.time_zone)
        finally:
            await connection.close()
    except (asyncpg.PostgresError, OSError):  # it is seen by whoever is served
        return
    if state.installed != state.ours:
        logger.warning("Serving another release's schema: %s", state)
    if not is_known:
        logger.warning(
            "PostgreSQL knows no time zone %s: only restaurants with rules of their own are booked",
            settings.time_zone,
        )
    wanted = settings.processes * (CONNECTIONS + 1) + OTHERS
    if wanted > allowed:
        logger.warning(
            "%d processes may open %d connections, PostgreSQL allows %d: raise max_connections",
            *(settings.processes, wanted, allowed),
        )


def _state_of(error: Exception) -> str | None:
    return getattr(getattr(error, "orig", error), "sqlstate", None)
