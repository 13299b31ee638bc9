"""The ledger of balances counts its rows for each account, 1, 2, 3, …, and says whose they were.

An identity's order is no order of events on a distributed engine, and has gaps by itself. With its
owner in the key of each entry, an account that has money's history cannot be another user's.
Numbering holds a lock on accounts and their ledger, some 10 s a million rows: payments and
purchases wait, or answer 503.
"""

from service.database.migrate import revert_script, run_script

revision = "0015"
down_revision = "0014"

# The two functions are as in sql/ from here on: changes of balances between this transaction and
# the replay of sql/ are numbered, too.
UPGRADE = """
ALTER TABLE accounts ADD COLUMN entry_count bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN accounts.entry_count IS
    'How many entries the account has had: the number of the newest. Set by a trigger.';
ALTER TABLE account_entries ADD COLUMN number bigint, ADD COLUMN user_id bigint;
COMMENT ON COLUMN account_entries.number IS
    'Counts the entries of one account: 1, 2, 3, … A gap is a row that was taken away.';
COMMENT ON COLUMN account_entries.user_id IS 'Whose the account is.';
COMMENT ON COLUMN account_entries.entry_id IS 'Made here; says nothing of the order.';
COMMENT ON COLUMN account_entries.created_at IS
    'When, by the database''s clock, under the account''s lock; never before its last entry.';

ALTER TABLE account_entries DISABLE TRIGGER USER;
UPDATE account_entries AS e SET number = n.number, user_id = n.user_id
FROM (
    SELECT store_id, w.entry_id, a.user_id,
        row_number() OVER (PARTITION BY store_id, account_id ORDER BY w.entry_id) AS number
    FROM account_entries AS w JOIN accounts AS a USING (store_id, account_id)
) AS n
WHERE e.store_id = n.store_id AND e.entry_id = n.entry_id;
ALTER TABLE account_entries ENABLE TRIGGER USER;
UPDATE accounts AS a SET entry_count = n.entry_count
FROM (
    SELECT store_id, account_id, max(number) AS entry_count
    FROM account_entries GROUP BY store_id, account_id
) AS n
WHERE a.store_id = n.store_id AND a.account_id = n.account_id;

ALTER TABLE account_entries ALTER COLUMN number SET NOT NULL, ALTER COLUMN user_id SET NOT NULL;
ALTER TABLE account_entries ADD CONSTRAINT entries_counted UNIQUE (store_id, account_id, number);
ALTER TABLE account_entries ADD CONSTRAINT counted_from_one CHECK (number > 0);
CREATE INDEX account_entries_by_time
    ON account_entries (store_id, account_id, created_at, number);
DROP INDEX account_entries_by_account;

ALTER TABLE accounts ADD CONSTRAINT accounts_by_owner UNIQUE (store_id, account_id, user_id);
ALTER TABLE account_entries ADD CONSTRAINT entries_keep_their_owner
    FOREIGN KEY (store_id, account_id, user_id)
    REFERENCES accounts (store_id, account_id, user_id);
ALTER TABLE account_entries DROP CONSTRAINT account_entries_store_id_account_id_fkey;

CREATE OR REPLACE FUNCTION count_entry() RETURNS trigger
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    NEW.entry_count :=
        COALESCE(OLD.entry_count, 0) + (NEW.balance <> COALESCE(OLD.balance, 0))::int;
    RETURN NEW;
END $$;
CREATE TRIGGER count_entry BEFORE INSERT OR UPDATE OF balance ON accounts
    FOR EACH ROW EXECUTE FUNCTION count_entry();

CREATE OR REPLACE FUNCTION record_entry() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_reason text := COALESCE(NULLIF(current_setting('holdfast.reason', true), ''), 'adjustment');
    v_reference text := NULLIF(current_setting('holdfast.reference', true), '');
    v_last_at timestamptz;
BEGIN
    SELECT e.created_at INTO v_last_at FROM account_entries AS e
    WHERE e.store_id = NEW.store_id AND e.account_id = NEW.account_id
        AND e.number = NEW.entry_count - 1;
    INSERT INTO account_entries (
        store_id, account_id, user_id, number, amount, balance_after, reason, transaction_id,
        reference, actor, created_at
    ) VALUES (
        NEW.store_id, NEW.account_id, NEW.user_id, NEW.entry_count,
        NEW.balance - COALESCE(OLD.balance, 0), NEW.balance,
        v_reason, CASE WHEN v_reason = 'payment' THEN v_reference END,
        CASE WHEN v_reason <> 'payment' THEN v_reference END,
        COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user),
        GREATEST(clock_timestamp(), v_last_at)
    );
    RETURN NULL;
END $$;
"""

DOWNGRADE = """
ALTER TABLE account_entries ADD CONSTRAINT account_entries_store_id_account_id_fkey
    FOREIGN KEY (store_id, account_id) REFERENCES accounts;
ALTER TABLE account_entries DROP CONSTRAINT entries_keep_their_owner;
ALTER TABLE accounts DROP CONSTRAINT accounts_by_owner;
CREATE INDEX account_entries_by_account ON account_entries (store_id, account_id, entry_id);
DROP INDEX account_entries_by_time;
ALTER TABLE account_entries DROP COLUMN number, DROP COLUMN user_id;
ALTER TABLE accounts DROP COLUMN entry_count;
COMMENT ON COLUMN account_entries.entry_id IS
    'Made here; grows with time for one account, not across accounts.';
COMMENT ON COLUMN account_entries.created_at IS
    'When, by the database''s clock, under the account''s lock.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
