CREATE OR REPLACE FUNCTION lock_stock(p_store_id text, p_product_ids text[]) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- Every function locks stock here, by product: two callers can wait, never deadlock.
    PERFORM FROM stock
    WHERE store_id = p_store_id AND product_id = ANY (p_product_ids)
    ORDER BY product_id FOR UPDATE;
    v_now := clock_timestamp();  -- a variable, so that an index can be searched by it

    PERFORM FROM reservation_lines
    WHERE store_id = p_store_id AND product_id = ANY (p_product_ids)
        AND held_until < 'infinity' AND held_until <= v_now;
    IF NOT FOUND THEN RETURN; END IF;

    -- The rows are ours, so a hold that has lapsed can be neither committed nor extended now.
    WITH lapsed AS (
        UPDATE reservation_lines SET held_until = NULL
        WHERE store_id = p_store_id AND product_id = ANY (p_product_ids)
            AND held_until < 'infinity' AND held_until <= v_now
        RETURNING product_id, quantity
    ), units AS (
        SELECT product_id, sum(quantity) AS quantity FROM lapsed GROUP BY product_id
    )
    UPDATE stock SET reserved = reserved - units.quantity FROM units
    WHERE stock.store_id = p_store_id AND stock.product_id = units.product_id;
END $$;

COMMENT ON FUNCTION lock_stock IS
    'Lock the stock rows of some products in the house''s one order and give the units of '
    'their lapsed holds back, so that what is available is exact until the transaction ends.';
