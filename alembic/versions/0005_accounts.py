"""Accounts of users, the ledger of their balances, and purchases."""

from service.database.migrate import revert_script, run_script

revision = "0005"
down_revision = "0004"

# As in 0001: 1-64 visible characters without ":", which is kept for ids made here.
UNSEEN = r"\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F\u3000\uFEFF"
ID = rf"^[^{UNSEEN}:]{{1,64}}$"

UPGRADE = f"""
CREATE TABLE accounts (
    store_id text COLLATE "C" NOT NULL,
    account_id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    bill_id text COLLATE "C" NOT NULL CHECK (bill_id ~ '{ID}'),
    balance bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, account_id),
    FOREIGN KEY (store_id, user_id) REFERENCES users,
    CONSTRAINT accounts_by_bill UNIQUE (store_id, bill_id),
    CONSTRAINT never_overdrawn CHECK (balance >= 0)
);
CREATE INDEX accounts_by_user ON accounts (store_id, user_id, account_id);
COMMENT ON TABLE accounts IS 'Money that users have paid in, to buy with.';
COMMENT ON COLUMN accounts.store_id IS 'The store.';
COMMENT ON COLUMN accounts.account_id IS 'Made here.';
COMMENT ON COLUMN accounts.user_id IS 'Whose it is.';
COMMENT ON COLUMN accounts.bill_id IS
    'What the payer''s system calls it: 1-64 visible characters, no colon, unique in the store.';
COMMENT ON COLUMN accounts.balance IS
    'In minor units (kopecks, cents); equals the sum of its account_entries.';
COMMENT ON COLUMN accounts.created_at IS 'When its first payment came.';

CREATE TABLE account_entries (
    store_id text COLLATE "C" NOT NULL,
    entry_id bigint GENERATED ALWAYS AS IDENTITY,
    account_id bigint NOT NULL,
    amount bigint NOT NULL CHECK (amount <> 0),
    balance_after bigint NOT NULL CHECK (balance_after >= 0),
    reason text NOT NULL,
    transaction_id text COLLATE "C" CHECK (transaction_id ~ '{ID}'),
    reference text,
    actor text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, entry_id),
    FOREIGN KEY (store_id, account_id) REFERENCES accounts,
    CONSTRAINT paid_once UNIQUE (store_id, transaction_id),
    CONSTRAINT known_reason CHECK (reason IN ('payment', 'purchase', 'adjustment')),
    CONSTRAINT payment_has_its_id CHECK ((reason = 'payment') = (transaction_id IS NOT NULL))
);
CREATE INDEX account_entries_by_account ON account_entries (store_id, account_id, entry_id);
CREATE UNIQUE INDEX account_entries_by_purchase
    ON account_entries (store_id, reference) WHERE reason = 'purchase';
COMMENT ON TABLE account_entries IS
    'The ledger of balances: append-only, one row per change, written by a trigger on accounts.';
COMMENT ON COLUMN account_entries.store_id IS 'The store.';
COMMENT ON COLUMN account_entries.entry_id IS
    'Made here; grows with time for one account, not across accounts.';
COMMENT ON COLUMN account_entries.account_id IS 'The account.';
COMMENT ON COLUMN account_entries.amount IS
    'Minor units that came in (positive) or went out (negative).';
COMMENT ON COLUMN account_entries.balance_after IS 'accounts.balance right after this change.';
COMMENT ON COLUMN account_entries.reason IS
    'Which operation made the change; adjustment: an UPDATE by hand.';
COMMENT ON COLUMN account_entries.transaction_id IS
    'Of a payment, chosen by the payer''s system: credited once, for ever. Else null.';
COMMENT ON COLUMN account_entries.reference IS
    'What it was done for, such as a purchase''s id; null when there is nothing to name.';
COMMENT ON COLUMN account_entries.actor IS
    'Who did it: a caller''s name told by the function, else the session''s login.';
COMMENT ON COLUMN account_entries.created_at IS
    'When, by the database''s clock, under the account''s lock.';

CREATE TABLE purchases (
    store_id text COLLATE "C" NOT NULL,
    purchase_id bigint GENERATED ALWAYS AS IDENTITY,
    user_id bigint NOT NULL,
    account_id bigint NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    price_at_purchase bigint NOT NULL CHECK (price_at_purchase >= 0),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, purchase_id),
    FOREIGN KEY (store_id, user_id) REFERENCES users,
    FOREIGN KEY (store_id, account_id) REFERENCES accounts,
    FOREIGN KEY (store_id, product_id) REFERENCES products
);
CREATE INDEX purchases_by_user ON purchases (store_id, user_id, purchase_id);
CREATE INDEX purchases_by_product ON purchases (store_id, product_id, purchase_id);
COMMENT ON TABLE purchases IS
    'Who bought what: append-only; each is paid by one entry and took its units from stock.';
COMMENT ON COLUMN purchases.store_id IS 'The store that sold.';
COMMENT ON COLUMN purchases.purchase_id IS
    'Made here; the reference of its entry and of its stock movement.';
COMMENT ON COLUMN purchases.user_id IS 'Who bought.';
COMMENT ON COLUMN purchases.account_id IS 'Whose money paid.';
COMMENT ON COLUMN purchases.product_id IS 'What was bought.';
COMMENT ON COLUMN purchases.quantity IS 'Units.';
COMMENT ON COLUMN purchases.price_at_purchase IS 'Of one unit, in minor units, at that moment.';
COMMENT ON COLUMN purchases.created_at IS 'When, by the database''s clock.';

ALTER TABLE stock_movements DROP CONSTRAINT known_reason, ADD CONSTRAINT known_reason CHECK (
    reason IN ('supply', 'demand', 'commit', 'purchase', 'write_off', 'import', 'adjustment')
);
"""

# The release before knows no purchases: to it, their units were taken out on demand.
DOWNGRADE = """
UPDATE stock_movements SET reason = 'demand' WHERE reason = 'purchase';
ALTER TABLE stock_movements DROP CONSTRAINT known_reason, ADD CONSTRAINT known_reason CHECK (
    reason IN ('supply', 'demand', 'commit', 'write_off', 'import', 'adjustment')
);
DROP TABLE purchases;
DROP TABLE account_entries;
DROP TABLE accounts;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
