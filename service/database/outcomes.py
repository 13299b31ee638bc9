"""What an error of PostgreSQL or of the network means to a caller: which refusal it is.

* nothing happened (`database_unavailable`, `database_busy`, `database_timeout`, `overloaded`): try
  again later;
* it was rolled back (`conflict`): the pool has tried again a few times by itself;
* it may have happened (`outcome_unknown`): try again with the same id, which replays.
"""

import logging

import asyncpg
from sqlalchemy.exc import DBAPIError

from service.results import Refusal

ROLLED_BACK = {
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "23503",  # foreign_key_violation: what a row names was removed meanwhile, or is named since
    "23505",  # unique_violation: a twin won the race; the next try finds what it committed
    "23P01",  # exclusion_violation: likewise, of a table that somebody confirms by hand
}
LOCK_TIMEOUT = "55P03"  # lock_not_available
STATEMENT_TIMEOUT = "57014"  # query_canceled
READ_ONLY = "25006"  # read_only_sql_transaction: this server has become a standby
NOT_MIGRATED = {
    "3F000",  # invalid_schema_name: not migrated yet
    "42883",  # undefined_function: likewise, or migrated by another release
    "42P01",  # undefined_table: likewise
    "42501",  # insufficient_privilege: rights were lost, as in a dump restored without its roles
}
GONE = {
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
}
MIGRATE = "python -m service migrate"

logger = logging.getLogger("holdfast.database")


def explain(error: Exception) -> Refusal:
    """Which refusal an error during a call means; a bug in a function is raised as it is."""
    # The driver's own error: SQLAlchemy's copy of "cached plan must not change" has lost the state.
    orig = error.orig if isinstance(error, DBAPIError) else None
    cause = (orig.__cause__ or orig) if orig else error
    state = getattr(cause, "sqlstate", None)
    if state in ROLLED_BACK or isinstance(cause, asyncpg.InvalidCachedStatementError):
        return Refusal("conflict")
    if state == LOCK_TIMEOUT:
        return Refusal("database_busy")
    if state == STATEMENT_TIMEOUT:
        return Refusal("database_timeout")
    if state == "22003":  # numeric_value_out_of_range
        return Refusal("out_of_range")
    if state == READ_ONLY or state in NOT_MIGRATED:
        remedy = "It is a standby?" if state == READ_ONLY else f"Perhaps it needs: {MIGRATE}"
        logger.error("PostgreSQL cannot serve this: %s. %s", cause, remedy)
        return Refusal("database_unavailable")
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if state == "22023" and "time zone" in str(cause):  # invalid_parameter_value
        logger.error("PostgreSQL's tables have no such zone: %s. See HOLDFAST_TIME_ZONE", cause)
        return Refusal("database_unavailable")
    if state in GONE or state is None or state.startswith("08") or is_lost:
        logger.warning("Connection lost during a call: %s", str(cause) or "no answer in time")
        return Refusal("outcome_unknown")
    if state.startswith("53"):  # disk full, out of memory, too many connections
        logger.error("PostgreSQL is out of resources: %s", cause)
        return Refusal("database_unavailable")
    raise error
