"""The ledger of stock counts its rows for each product: 1, 2, 3, … without a gap.

An identity's order is no order of events on a distributed engine, and has gaps by itself. Numbering
holds a lock on the ledger, some 10 s a million rows; reserving does not write there.
"""

from service.database.migrate import revert_script, run_script

revision = "0010"
down_revision = "0009"

# record_movement() as it is from here on: changes of stock between this transaction and the
# replay of sql/ are numbered, too.
UPGRADE = """
ALTER TABLE stock_movements ADD COLUMN number bigint;
COMMENT ON COLUMN stock_movements.number IS
    'Counts the movements of one product: 1, 2, 3, … A gap is a row that was taken away.';

UPDATE stock_movements AS m SET number = n.number
FROM (
    SELECT store_id, movement_id,
        row_number() OVER (PARTITION BY store_id, product_id ORDER BY movement_id) AS number
    FROM stock_movements
) AS n
WHERE m.store_id = n.store_id AND m.movement_id = n.movement_id;

ALTER TABLE stock_movements ALTER COLUMN number SET NOT NULL;
ALTER TABLE stock_movements ADD CONSTRAINT movements_counted
    UNIQUE (store_id, product_id, number) INCLUDE (created_at, on_hand_after);
ALTER TABLE stock_movements ADD CONSTRAINT counted_from_one CHECK (number > 0);
DROP INDEX stock_movements_by_product;

DROP INDEX stock_movements_without_position;
CREATE INDEX stock_movements_without_position
    ON stock_movements (store_id, created_at, product_id, number) WHERE position IS NULL;

COMMENT ON COLUMN stock_movements.movement_id IS 'Made here; says nothing of the order.';
COMMENT ON COLUMN stock_movements.created_at IS
    'When, by the database''s clock, under the lock; never before the product''s last movement.';

CREATE OR REPLACE FUNCTION record_movement() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_store_id text := COALESCE(NEW.store_id, OLD.store_id);
    v_product_id text := COALESCE(NEW.product_id, OLD.product_id);
    v_last record;
BEGIN
    IF TG_OP = 'DELETE' AND OLD.reserved > 0 THEN
        RAISE EXCEPTION 'stock of % is reserved', OLD.product_id
            USING ERRCODE = 'object_in_use', HINT = 'Release its reservations first.';
    END IF;
    SELECT m.number, m.created_at INTO v_last FROM stock_movements AS m
    WHERE m.store_id = v_store_id AND m.product_id = v_product_id
    ORDER BY m.number DESC LIMIT 1;
    INSERT INTO stock_movements (
        store_id, product_id, number, delta, on_hand_after, reason, reference, actor, created_at
    ) VALUES (
        v_store_id, v_product_id, COALESCE(v_last.number, 0) + 1,
        COALESCE(NEW.on_hand, 0) - COALESCE(OLD.on_hand, 0), COALESCE(NEW.on_hand, 0),
        COALESCE(NULLIF(current_setting('holdfast.reason', true), ''), 'adjustment'),
        NULLIF(current_setting('holdfast.reference', true), ''),
        COALESCE(NULLIF(current_setting('holdfast.actor', true), ''), session_user),
        GREATEST(clock_timestamp(), v_last.created_at)
    );
    RETURN NULL;
END $$;
"""

DOWNGRADE = """
DROP INDEX stock_movements_without_position;
CREATE INDEX stock_movements_without_position ON stock_movements (store_id, movement_id)
    WHERE position IS NULL;
CREATE INDEX stock_movements_by_product ON stock_movements (store_id, product_id, movement_id);
ALTER TABLE stock_movements DROP COLUMN number;
COMMENT ON COLUMN stock_movements.movement_id IS
    'Made here; grows with time for one product, not across products.';
COMMENT ON COLUMN stock_movements.created_at IS 'When, by the database''s clock, under the lock.';
"""


def upgrade() -> None:
    run_script(UPGRADE)


def downgrade() -> None:
    revert_script(DOWNGRADE)
