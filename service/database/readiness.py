"""Whether requests can be served now: PostgreSQL runs a reservation that it has to refuse."""

import asyncio

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.database.connections import Unreachable
from service.database.outcomes import MIGRATE, NOT_MIGRATED, READ_ONLY
from service.database.pool import Database
from service.results import Refusal

SECONDS = 1.0
# Without ids and quantity: it is refused before anything is locked or written.
PROVE = text("SELECT result_code FROM reserve_stock(:store_id, NULL, NULL, NULL)")


async def prove_ready(database: Database, store_id: str) -> None:
    """Return when a reservation could be made now; else raise a Refusal that says what to do."""
    try:
        async with asyncio.timeout(SECONDS):
            await database.read(PROVE, store_id=store_id)
    except TimeoutError:
        detail = f"PostgreSQL gave no answer within {SECONDS:.0f} s."
        raise Refusal("database_unavailable", detail) from None
    except Refusal as refusal:
        raise Refusal(refusal.code, _detail(refusal)) from refusal
    except DBAPIError as error:  # a defect of a function, or of what was made of it by hand
        raise Refusal("database_unavailable", f"PostgreSQL says: {error.orig}") from error


def _detail(error: BaseException) -> str:
    """What lies at the bottom of a refusal, and its remedy where one is known."""
    while error.__cause__ is not None and not isinstance(error, Unreachable):
        error = error.__cause__
    if isinstance(error, Refusal):
        return ""
    said = str(error).partition("\n")[0]
    state = getattr(error, "sqlstate", None)
    if state in NOT_MIGRATED:
        return f"PostgreSQL says: {said}. To mend it: {MIGRATE}"
    return f"PostgreSQL says: {said}: a standby?" if state == READ_ONLY else said
