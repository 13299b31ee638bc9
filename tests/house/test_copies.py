"""The databases that tests get: used again only where nothing but rows was written."""

from typing import Any

import asyncpg
import pytest

from tests.support.copies import Copies, Copy

FILL = """
SELECT holdfast.create_store('main');
INSERT INTO holdfast.users (store_id, login, password_hash, role) VALUES ('main', 'a', '', 'staff')
"""


async def used(copies: Copies, copy: Copy, statements: str) -> tuple[bool, list[Any]]:
    """Whether a copy is used again after statements of a test; its broken invariants."""
    connection = await asyncpg.connect(copy.url)
    await connection.execute(statements)  # and stays connected, as what a test forgets
    broken = await copies.give_back(copy)
    is_kept = copy in copies.idle
    if is_kept:
        copies.idle.remove(copy)
    connection.terminate()
    return is_kept, broken


async def test_a_copy_with_rows_is_emptied_and_used_again(copies: Copies) -> None:
    copy = await copies._make()
    assert await used(copies, copy, f"{FILL}; ANALYZE holdfast.users") == (True, [])
    assert await used(copies, copy, FILL) == (True, [])
    connection = await asyncpg.connect(copy.url)
    assert await connection.fetchval("SELECT count(*) FROM holdfast.users") == 0
    assert await connection.fetchval("SELECT count(*) FROM holdfast.audit_log") == 0
    assert await connection.fetchval("SELECT nextval('holdfast.users_user_id_seq')") == 1
    statistics = "SELECT count(*) FROM pg_stats WHERE schemaname = 'holdfast'"
    assert await connection.fetchval(statistics) == 0
    of_users = "SELECT reltuples FROM pg_class WHERE oid = 'holdfast.users'::regclass"
    assert await connection.fetchval(of_users) == -1
    await connection.close()
    await copies.drop(copy)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE holdfast.stores ADD COLUMN more int",
        "CREATE INDEX ON holdfast.stores (name)",
        "COMMENT ON TABLE holdfast.stores IS 'another'",
        "DROP VIEW holdfast.stock_levels",
        "GRANT SELECT ON holdfast.stores TO PUBLIC",
        "REVOKE ALL ON FUNCTION holdfast.create_store FROM holdfast_service",
        "ALTER FUNCTION holdfast.create_store SET lock_timeout = 1",
        "ALTER TABLE holdfast.stock DISABLE TRIGGER ALL",
        "CREATE SCHEMA another",
        "UPDATE holdfast.installed_files SET path = path",
    ],
)
async def test_a_copy_whose_schema_was_changed_is_dropped(copies: Copies, change: str) -> None:
    copy = await copies._make()
    is_kept, _ = await used(copies, copy, change)
    assert not is_kept
    found = "SELECT count(*) FROM pg_database WHERE datname = $1"
    assert await copies.admin.fetchval(found, copy.name) == 0


async def test_a_setting_of_the_database_is_such_a_change(copies: Copies) -> None:
    copy = await copies._make()
    change = f"ALTER DATABASE {copy.name} SET work_mem = '5MB'"
    assert await used(copies, copy, change) == (False, [])


async def test_what_a_test_broke_is_told(copies: Copies) -> None:
    copy = await copies._make()
    broken = (
        f"{FILL}; SET session_replication_role = replica; INSERT INTO holdfast.stock"
        " (store_id, product_id, on_hand) VALUES ('main', 'a', 1)"
    )
    is_kept, violations = await used(copies, copy, broken)
    assert not is_kept
    assert violations
