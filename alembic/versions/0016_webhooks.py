"""Webhooks: the targets of a store; products that are announced when they run low."""

from service.database.migrate import revert_script, run_script

revision = "0016"
down_revision = "0015"

UPGRADE = """
CREATE TABLE hooks (
    store_id text COLLATE "C" NOT NULL,
    hook_id bigint GENERATED ALWAYS AS IDENTITY,
    url text NOT NULL,
    events text[],
    secret text NOT NULL,
    old_secret text,
    old_secret_until timestamptz,
    is_active boolean NOT NULL DEFAULT true,
    failing_since timestamptz,
    off_at timestamptz,
    off_reason text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT hooks_pkey PRIMARY KEY (store_id, hook_id),
    CONSTRAINT of_a_store FOREIGN KEY (store_id) REFERENCES stores,
    CONSTRAINT over_http CHECK (url ~ '^https?://' AND length(url) <= 2000),
    CONSTRAINT some_events CHECK (cardinality(events) > 0),
    CONSTRAINT old_secret_ends CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
    CONSTRAINT off_for_a_reason CHECK (num_nulls(off_at, off_reason)
        = CASE WHEN is_active THEN 2 ELSE 0 END),
    CONSTRAINT known_reason CHECK (off_reason IN ('staff', 'gone', 'failing'))
);
COMMENT ON TABLE hooks IS
    'Targets of webhooks: whom a store tells of events. Who reads their secrets can sign as we do.';
COMMENT ON COLUMN hooks.store_id IS 'The store.';
COMMENT ON COLUMN hooks.hook_id IS 'Made here; the target of its messages in "outbox".';
COMMENT ON COLUMN hooks.url IS 'Where events are posted to.';
COMMENT ON COLUMN hooks.events IS 'Types of events it is told of, of event_types(); null: all.';
COMMENT ON COLUMN hooks.secret IS 'whsec_…: signs what is sent, by Standard Webhooks.';
COMMENT ON COLUMN hooks.old_secret IS 'The secret before, which signs along until its end.';
COMMENT ON COLUMN hooks.old_secret_until IS 'When the old secret ends.';
COMMENT ON COLUMN hooks.is_active IS 'Whether it is told of events.';
COMMENT ON COLUMN hooks.failing_since IS 'When failures began; null: the last attempt was good.';
COMMENT ON COLUMN hooks.off_at IS 'When it was switched off; null: it is not.';
COMMENT ON COLUMN hooks.off_reason IS
    'By whom or why: staff; gone (it answered 410); failing (three days of failures only).';
COMMENT ON COLUMN hooks.created_at IS 'When it was made.';

-- What was sent, or is to be sent, to one target, newest first.
CREATE INDEX outbox_of_target ON outbox (store_id, target, message_id)
    WHERE channel = 'webhook' AND target <> '';

ALTER TABLE products ADD low_at bigint;
ALTER TABLE products ADD CONSTRAINT low_at_some_number CHECK (low_at >= 0);
COMMENT ON COLUMN products.low_at IS
    'Webhooks are told when so many units are available, or fewer; null: never.';
CREATE INDEX products_watched ON products (store_id, product_id) WHERE low_at IS NOT NULL;

CREATE TABLE low_stock (
    store_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    CONSTRAINT low_stock_pkey PRIMARY KEY (store_id, product_id),
    CONSTRAINT of_a_product FOREIGN KEY (store_id, product_id) REFERENCES products
        ON DELETE CASCADE
);
COMMENT ON TABLE low_stock IS
    'Products that are low and were announced as such; a row goes when there is more again.';
COMMENT ON COLUMN low_stock.store_id IS 'The store.';
COMMENT ON COLUMN low_stock.product_id IS 'The product.';
COMMENT ON COLUMN low_stock.since IS 'When it was found to be low.';
"""

DOWNGRADE = """
DROP TABLE low_stock;
DROP INDEX products_watched;
ALTER TABLE products DROP CONSTRAINT low_at_some_number;
ALTER TABLE products DROP low_at;
DROP INDEX outbox_of_target;
DROP TABLE hooks;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
