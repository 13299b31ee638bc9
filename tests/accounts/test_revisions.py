"""What the revisions make of a ledger that was there before."""

import asyncio

from alembic import command

from service.database import migrate
from service.database.connections import connected
from service.database.roles import OWNER
from tests.support.databases import empty_database, revision_before

ACCOUNTS = """
INSERT INTO stores (store_id) VALUES ('a'), ('b');
INSERT INTO users (store_id, login, password_hash) VALUES ('a', 'ann', ''), ('b', 'bob', '');
INSERT INTO accounts (store_id, user_id, bill_id, balance)
SELECT store_id, user_id, bill, 0 FROM users, unnest(ARRAY['b1', 'b2', 'unused']) AS bill;
UPDATE accounts SET balance = 10 WHERE bill_id <> 'unused';
UPDATE accounts SET balance = 7 WHERE bill_id = 'b2';
UPDATE accounts SET balance = 5 WHERE bill_id <> 'unused';
"""
NUMBERS = """
SELECT a.bill_id || a.store_id, a.entry_count, array_agg(e.number ORDER BY e.entry_id),
    array_agg(e.balance_after ORDER BY e.number), bool_and(e.user_id = a.user_id)
FROM accounts AS a LEFT JOIN account_entries AS e USING (store_id, account_id)
GROUP BY a.store_id, a.bill_id, a.entry_count ORDER BY 1
"""


async def test_entries_that_were_there_are_counted_and_counting_goes_on(cluster: str) -> None:
    async with empty_database(cluster) as url:
        before = revision_before("account_entries")
        await migrate.upgrade_in_thread(url)
        async with connected(url, OWNER) as owner:
            await owner.execute(ACCOUNTS)
        for _ in range(2):
            await asyncio.to_thread(migrate.downgrade, url, before)
            await migrate.upgrade_in_thread(url)
        async with connected(url, OWNER) as owner:
            found = [tuple(row) for row in await owner.fetch(NUMBERS)]
            assert found == [
                ("b1a", 2, [1, 2], [10, 5], True),
                ("b1b", 2, [1, 2], [10, 5], True),
                ("b2a", 3, [1, 2, 3], [10, 7, 5], True),
                ("b2b", 3, [1, 2, 3], [10, 7, 5], True),
                ("unuseda", 0, [None], [None], None),
                ("unusedb", 0, [None], [None], None),
            ]
            await owner.execute("UPDATE accounts SET balance = 1")
            assert await owner.fetchval("SELECT sum(entry_count)::int FROM accounts") == 16
            assert await owner.fetch("SELECT * FROM invariant_violations") == []


async def test_balances_that_change_before_sql_is_replayed_are_counted_too(
    cluster: str,
) -> None:
    """The release before serves while its database is upgraded, with its triggers."""
    async with empty_database(cluster) as url:
        await migrate.upgrade_in_thread(url)
        async with connected(url, OWNER) as owner:
            await owner.execute(ACCOUNTS)
        await asyncio.to_thread(migrate.downgrade, url, revision_before("account_entries"))
        await asyncio.to_thread(command.upgrade, migrate.alembic_config(url), "0015")
        async with connected(url, OWNER) as owner:
            await owner.execute(
                "CREATE TRIGGER record_entry AFTER UPDATE OF balance ON accounts FOR EACH ROW"
                " WHEN (OLD.balance <> NEW.balance) EXECUTE FUNCTION record_entry()"
            )
            await owner.execute("UPDATE accounts SET balance = 1")
        await migrate.upgrade_in_thread(url)
        async with connected(url, OWNER) as owner:
            assert await owner.fetchval("SELECT sum(entry_count)::int FROM accounts") == 16
            assert await owner.fetch("SELECT * FROM invariant_violations") == []
