"""Stores, products, stock and its ledger, reservations and their lines."""

from service.database.migrate import revert_script, run_script

revision = "0001"
down_revision = None

# 1-64 visible characters without ":", which is kept for ids made here. No control
# character, no white space: an id that cannot be seen cannot be told from another.
UNSEEN = r"\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F\u3000\uFEFF"
ID = rf"^[^{UNSEEN}:]{{1,64}}$"

UPGRADE = f"""
CREATE TABLE stores (
    store_id text COLLATE "C" PRIMARY KEY CHECK (store_id ~ '{ID}'),
    name text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE stores IS
    'A warehouse, shop or restaurant: the tenant, and the unit of sharding.';
COMMENT ON COLUMN stores.store_id IS 'Chosen outside: 1-64 visible characters, no colon.';
COMMENT ON COLUMN stores.name IS 'What people call it; may be empty.';
COMMENT ON COLUMN stores.created_at IS 'When the store was created here.';

CREATE TABLE products (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    product_id text COLLATE "C" NOT NULL CHECK (product_id ~ '{ID}'),
    name text NOT NULL DEFAULT '',
    price bigint NOT NULL DEFAULT 0 CHECK (price >= 0),
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, product_id)
);
COMMENT ON TABLE products IS 'What a store keeps; how much of it is in "stock".';
COMMENT ON COLUMN products.store_id IS 'The store that keeps it.';
COMMENT ON COLUMN products.product_id IS 'Chosen outside: 1-64 visible characters, no colon.';
COMMENT ON COLUMN products.name IS 'What people call it; may be empty.';
COMMENT ON COLUMN products.price IS 'Of one unit, in minor units (kopecks, cents).';
COMMENT ON COLUMN products.is_active IS 'False: kept for its history, no longer offered.';
COMMENT ON COLUMN products.created_at IS 'When the product was created here.';

-- Apart from products, so that the foreign keys of lines and movements never wait for the hot
-- row; half-empty pages let its many versions stay where they are (HOT updates).
CREATE TABLE stock (
    store_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    on_hand bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (store_id, product_id),
    FOREIGN KEY (store_id, product_id) REFERENCES products,
    CONSTRAINT never_oversold CHECK (0 <= reserved AND reserved <= on_hand)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE stock IS
    'Units of each product of a store: one row per product, locked by whoever changes it.';
COMMENT ON COLUMN stock.store_id IS 'The store.';
COMMENT ON COLUMN stock.product_id IS 'The product.';
COMMENT ON COLUMN stock.on_hand IS 'Units in the store; equals the sum of its stock_movements.';
COMMENT ON COLUMN stock.reserved IS
    'Units promised: the sum of the reservation_lines that hold (held_until is not null).';

CREATE TABLE stock_movements (
    store_id text COLLATE "C" NOT NULL,
    movement_id bigint GENERATED ALWAYS AS IDENTITY,
    product_id text COLLATE "C" NOT NULL,
    delta bigint NOT NULL CHECK (delta <> 0),
    on_hand_after bigint NOT NULL CHECK (on_hand_after >= 0),
    reason text NOT NULL,
    reference text,
    actor text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, movement_id),
    FOREIGN KEY (store_id, product_id) REFERENCES products,
    CONSTRAINT known_reason CHECK (
        reason IN ('supply', 'demand', 'commit', 'write_off', 'import', 'adjustment')
    )
);
CREATE INDEX stock_movements_by_product
    ON stock_movements (store_id, product_id, movement_id);
COMMENT ON TABLE stock_movements IS
    'The ledger of on_hand: append-only, one row per change, written by a trigger on stock.';
COMMENT ON COLUMN stock_movements.store_id IS 'The store.';
COMMENT ON COLUMN stock_movements.movement_id IS
    'Made here; grows with time for one product, not across products.';
COMMENT ON COLUMN stock_movements.product_id IS 'The product.';
COMMENT ON COLUMN stock_movements.delta IS 'Units that came in (positive) or went out (negative).';
COMMENT ON COLUMN stock_movements.on_hand_after IS 'stock.on_hand right after this change.';
COMMENT ON COLUMN stock_movements.reason IS
    'Which operation made the change; adjustment: an UPDATE by hand.';
COMMENT ON COLUMN stock_movements.reference IS
    'What it was done for, such as a reservation''s id; null when there is nothing to name.';
COMMENT ON COLUMN stock_movements.actor IS
    'Who did it: a caller''s name told by the function, else the session''s login.';
COMMENT ON COLUMN stock_movements.created_at IS 'When, by the database''s clock, under the lock.';

CREATE TABLE reservations (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    reservation_id text COLLATE "C" NOT NULL CHECK (reservation_id ~ '{ID}'),
    kind text NOT NULL CHECK (kind IN ('callback', 'hold', 'order')),
    status text NOT NULL DEFAULT 'held'
        CHECK (status IN ('held', 'committed', 'released', 'expired')),
    requested_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    closed_at timestamptz,
    PRIMARY KEY (store_id, reservation_id),
    CONSTRAINT closed_when_not_held CHECK ((status = 'held') = (closed_at IS NULL))
);
-- For the sweeper; a callback, which never lapses, costs it nothing.
CREATE INDEX reservations_that_lapse
    ON reservations (store_id, expires_at) WHERE status = 'held' AND expires_at IS NOT NULL;
COMMENT ON TABLE reservations IS
    'A promise of units: held, then committed, released or expired, exactly once.';
COMMENT ON COLUMN reservations.store_id IS 'The store whose stock is promised.';
COMMENT ON COLUMN reservations.reservation_id IS
    'Chosen outside: 1-64 visible characters, no colon.';
COMMENT ON COLUMN reservations.kind IS
    'callback: asked by an external system at requested_at; hold: with lines and maybe a '
    'lifetime; order: the hold of an order.';
COMMENT ON COLUMN reservations.status IS
    'held until resolved. A hold past its expires_at counts as expired even while it says held.';
COMMENT ON COLUMN reservations.requested_at IS
    'The time the caller gave; recorded, never used to decide.';
COMMENT ON COLUMN reservations.created_at IS 'When it was made, by the database''s clock.';
COMMENT ON COLUMN reservations.expires_at IS 'When it lapses; null: never.';
COMMENT ON COLUMN reservations.closed_at IS 'When it stopped being held; null while held.';

CREATE TABLE reservation_lines (
    store_id text COLLATE "C" NOT NULL,
    reservation_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    held_until timestamptz DEFAULT 'infinity',
    PRIMARY KEY (store_id, reservation_id, product_id),
    FOREIGN KEY (store_id, reservation_id) REFERENCES reservations,
    FOREIGN KEY (store_id, product_id) REFERENCES products
);
CREATE INDEX reservation_lines_by_product
    ON reservation_lines (store_id, product_id, reservation_id);
-- Only lines that can lapse: a callback, which never does, costs this index nothing.
CREATE INDEX reservation_lines_that_lapse
    ON reservation_lines (store_id, product_id, held_until) WHERE held_until < 'infinity';
COMMENT ON TABLE reservation_lines IS
    'What a reservation promises, one row per product; product and quantity never change.';
COMMENT ON COLUMN reservation_lines.store_id IS 'The store.';
COMMENT ON COLUMN reservation_lines.reservation_id IS 'The reservation.';
COMMENT ON COLUMN reservation_lines.product_id IS 'The product.';
COMMENT ON COLUMN reservation_lines.quantity IS 'Units promised.';
COMMENT ON COLUMN reservation_lines.held_until IS
    'Until when these units count in stock.reserved: infinity without expiry, null once they '
    'count no more (committed, released, or reclaimed after expiry). Changed only by who has '
    'locked the stock row.';
"""

DOWNGRADE = """
DROP TABLE reservation_lines;
DROP TABLE reservations;
DROP TABLE stock_movements;
DROP TABLE stock;
DROP TABLE products;
DROP TABLE stores;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
