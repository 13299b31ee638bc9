"""A store that is not there: functions that a handler reaches only with one say so, too."""

from typing import Any

import pytest


@pytest.mark.parametrize(
    "call",
    [
        "add_table('nowhere', 'regular', 2, 0, true, 'tests')",
        "set_booking_rules('nowhere', '{}', '{}', 'tests')",
        "list_bookings('nowhere', NULL, NULL, NULL, NULL, NULL, 10)",
        "list_active_bookings('nowhere')",
        "list_orders('nowhere', NULL, NULL, NULL, NULL, 10)",
        "change_hook('nowhere', 1, '{}', 'tests')",
    ],
)
async def test_an_unknown_store_is_told(sql: Any, call: str) -> None:
    assert (await sql.fetchrow(f"SELECT * FROM {call}"))["result_code"] == "unknown_store"
