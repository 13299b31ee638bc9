"""Clients, orders with their lines and refunds, and what was sold on which day."""

from service.database.migrate import revert_script, run_script

revision = "0022"
down_revision = "0021"

# As in 0001: 1-64 visible characters without ":", which is kept for ids made here.
UNSEEN = r"\u0001-\u0020\u007F-\u00A0\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F\u3000\uFEFF"

UPGRADE = f"""
CREATE TABLE clients (
    store_id text COLLATE "C" NOT NULL REFERENCES stores,
    client_id bigint GENERATED ALWAYS AS IDENTITY,
    name text COLLATE "C" NOT NULL CHECK (length(name) <= 200),
    address text COLLATE "C" NOT NULL CHECK (length(address) <= 400),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (store_id, client_id),
    CONSTRAINT clients_by_name UNIQUE (store_id, name, address)
);
COMMENT ON TABLE clients IS
    'Whom orders are for: found again by exact name and address.';
COMMENT ON COLUMN clients.store_id IS 'The store.';
COMMENT ON COLUMN clients.client_id IS 'Made here.';
COMMENT ON COLUMN clients.name IS 'As it was given; of a customer the login.';
COMMENT ON COLUMN clients.address IS 'As it was given; may be empty.';
COMMENT ON COLUMN clients.created_at IS 'When the first order for the client was made.';

CREATE TABLE orders (
    store_id text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL CHECK (order_id ~ '^[^{UNSEEN}:]{{1,64}}$'),
    number bigint GENERATED ALWAYS AS IDENTITY,
    client_id bigint NOT NULL,
    user_id bigint,
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'paid', 'cancelled', 'expired')),
    total bigint NOT NULL DEFAULT 0,
    refunded_total bigint NOT NULL DEFAULT 0,
    version int NOT NULL DEFAULT 1,
    paid_from text CHECK (paid_from IN ('account', 'outside')),
    account_id bigint,
    reference text CHECK (length(reference) <= 200),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    paid_at timestamptz,
    closed_at timestamptz,
    made_by text NOT NULL DEFAULT session_user,
    closed_by text,
    PRIMARY KEY (store_id, order_id),
    FOREIGN KEY (store_id, client_id) REFERENCES clients,
    FOREIGN KEY (store_id, user_id) REFERENCES users,
    FOREIGN KEY (store_id, account_id) REFERENCES accounts,
    CONSTRAINT orders_by_number UNIQUE (store_id, number),
    CONSTRAINT refunded_of_the_total CHECK (0 <= refunded_total AND refunded_total <= total),
    CONSTRAINT paid_once CHECK (
        (status = 'paid') = (paid_at IS NOT NULL) AND (status = 'paid') = (paid_from IS NOT NULL)
        AND (account_id IS NOT NULL) = (paid_from IS NOT DISTINCT FROM 'account')
        AND (reference IS NOT NULL) = (paid_from IS NOT DISTINCT FROM 'outside')),
    CONSTRAINT closed_when_it_ended CHECK (
        (status IN ('paid', 'cancelled')) = (closed_at IS NOT NULL))
);
CREATE INDEX orders_by_user ON orders (store_id, user_id, number) WHERE user_id IS NOT NULL;
CREATE INDEX orders_by_client ON orders (store_id, client_id, number);
CREATE INDEX orders_by_status ON orders (store_id, status, number);
COMMENT ON TABLE orders IS
    'What clients want, then have paid for. The units of an open one are held by the reservation '
    'order:{{order_id}}.';
COMMENT ON COLUMN orders.store_id IS 'The store that sells.';
COMMENT ON COLUMN orders.order_id IS 'Chosen outside, or a UUID made here.';
COMMENT ON COLUMN orders.number IS
    'What people call it: rising, with gaps, from one sequence for all stores.';
COMMENT ON COLUMN orders.client_id IS 'Whom it is for.';
COMMENT ON COLUMN orders.user_id IS 'Whose it is, where a customer made it; else null.';
COMMENT ON COLUMN orders.status IS
    'open, then paid or cancelled for good. expired: its hold has lapsed, and the worker has '
    'written that down; it may be taken up again.';
COMMENT ON COLUMN orders.total IS 'Of its lines, in minor units.';
COMMENT ON COLUMN orders.refunded_total IS 'Of the total, what was given back.';
COMMENT ON COLUMN orders.version IS 'Rises with every change.';
COMMENT ON COLUMN orders.paid_from IS
    'account: the money of account_id; outside: what the reference says; null: not paid.';
COMMENT ON COLUMN orders.account_id IS 'The account that paid; null where none did.';
COMMENT ON COLUMN orders.reference IS
    'Of money taken outside (cash, a terminal, an invoice), what it is found by; else null.';
COMMENT ON COLUMN orders.created_at IS 'When it was made.';
COMMENT ON COLUMN orders.paid_at IS 'When it was paid.';
COMMENT ON COLUMN orders.closed_at IS 'When it was paid or cancelled.';
COMMENT ON COLUMN orders.made_by IS 'Who made it: user:17, key:3, anonymous.';
COMMENT ON COLUMN orders.closed_by IS 'Who paid or cancelled it.';

CREATE TABLE order_lines (
    store_id text COLLATE "C" NOT NULL,
    order_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    price_at_purchase bigint NOT NULL CHECK (price_at_purchase >= 0),
    refunded bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (store_id, order_id, product_id),
    FOREIGN KEY (store_id, order_id) REFERENCES orders,
    FOREIGN KEY (store_id, product_id) REFERENCES products,
    CONSTRAINT refunded_of_the_line CHECK (
        quantity > 0 AND 0 <= refunded AND refunded <= quantity)
);
CREATE INDEX order_lines_by_product ON order_lines (store_id, product_id);
COMMENT ON TABLE order_lines IS 'What is ordered: one row per product, at most 100 an order.';
COMMENT ON COLUMN order_lines.store_id IS 'The store.';
COMMENT ON COLUMN order_lines.order_id IS 'The order.';
COMMENT ON COLUMN order_lines.product_id IS 'The product.';
COMMENT ON COLUMN order_lines.quantity IS 'Units.';
COMMENT ON COLUMN order_lines.price_at_purchase IS
    'Of one unit, in minor units, when the first was added.';
COMMENT ON COLUMN order_lines.refunded IS 'Of the quantity, units whose money was given back.';

CREATE TABLE order_refunds (
    store_id text COLLATE "C" NOT NULL,
    refund_id bigint GENERATED ALWAYS AS IDENTITY,
    order_id text COLLATE "C" NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL CHECK (quantity > 0),
    amount bigint NOT NULL CHECK (amount >= 0),
    is_restocked boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    made_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (store_id, refund_id),
    FOREIGN KEY (store_id, order_id, product_id) REFERENCES order_lines
);
CREATE INDEX order_refunds_by_order ON order_refunds (store_id, order_id, product_id);
COMMENT ON TABLE order_refunds IS 'What was given back of paid orders: append-only.';
COMMENT ON COLUMN order_refunds.store_id IS 'The store.';
COMMENT ON COLUMN order_refunds.refund_id IS 'Made here.';
COMMENT ON COLUMN order_refunds.order_id IS 'The order.';
COMMENT ON COLUMN order_refunds.product_id IS 'The line.';
COMMENT ON COLUMN order_refunds.quantity IS 'Units.';
COMMENT ON COLUMN order_refunds.amount IS 'Money given back for them, in minor units.';
COMMENT ON COLUMN order_refunds.is_restocked IS 'Whether the units came back into stock.';
COMMENT ON COLUMN order_refunds.created_at IS 'When.';
COMMENT ON COLUMN order_refunds.made_by IS 'Who did it.';

CREATE TABLE product_sales (
    store_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    product_id text COLLATE "C" NOT NULL,
    units bigint NOT NULL CHECK (units >= 0),
    amount numeric NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (store_id, day, product_id),
    FOREIGN KEY (store_id, product_id) REFERENCES products
) WITH (fillfactor = 70);
CREATE INDEX product_sales_by_product ON product_sales (store_id, product_id, day);
COMMENT ON TABLE product_sales IS
    'What orders have sold, less refunds, by the UTC day of their payment: for reports. Written by '
    'pay_order() and refund_order() under the lock of the stock that they hold anyway.';
COMMENT ON COLUMN product_sales.store_id IS 'The store.';
COMMENT ON COLUMN product_sales.day IS 'The day, in UTC, on which the orders were paid.';
COMMENT ON COLUMN product_sales.product_id IS 'The product.';
COMMENT ON COLUMN product_sales.units IS 'Units that were paid for and not refunded.';
COMMENT ON COLUMN product_sales.amount IS 'What they cost, in minor units.';

ALTER TABLE stock_movements DROP CONSTRAINT known_reason;
ALTER TABLE stock_movements ADD CONSTRAINT known_reason CHECK (reason IN (
    'supply', 'demand', 'commit', 'purchase', 'return', 'write_off', 'import', 'adjustment'));
ALTER TABLE account_entries DROP CONSTRAINT known_reason;
ALTER TABLE account_entries ADD CONSTRAINT known_reason CHECK (
    reason IN ('payment', 'purchase', 'order', 'refund', 'adjustment'));
CREATE UNIQUE INDEX account_entries_by_order ON account_entries (store_id, reference)
    WHERE reason = 'order';
"""

# The release before knows no orders: what open ones hold is given back, what they did stays in the
# ledgers as done by hand, and what left the stock for them as taken out on demand.
DOWNGRADE = """
UPDATE stock AS s SET reserved = s.reserved - u.quantity
FROM (
    SELECT store_id, product_id, sum(quantity) AS quantity FROM reservations
    WHERE kind = 'order' AND status = 'held' GROUP BY store_id, product_id
) AS u
WHERE s.store_id = u.store_id AND s.product_id = u.product_id;
DELETE FROM reservations WHERE kind = 'order';
UPDATE stock_movements SET reason = 'demand' WHERE reason = 'commit' AND reference LIKE 'order:%';
DROP INDEX account_entries_by_order;
UPDATE account_entries SET reason = 'adjustment' WHERE reason IN ('order', 'refund');
ALTER TABLE account_entries DROP CONSTRAINT known_reason;
ALTER TABLE account_entries ADD CONSTRAINT known_reason CHECK (
    reason IN ('payment', 'purchase', 'adjustment'));
UPDATE stock_movements SET reason = 'supply' WHERE reason = 'return';
ALTER TABLE stock_movements DROP CONSTRAINT known_reason;
ALTER TABLE stock_movements ADD CONSTRAINT known_reason CHECK (reason IN (
    'supply', 'demand', 'commit', 'purchase', 'write_off', 'import', 'adjustment'));
DROP TABLE product_sales;
DROP TABLE order_refunds;
DROP TABLE order_lines;
DROP TABLE orders;
DROP TABLE clients;
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
