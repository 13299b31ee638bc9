CREATE OR REPLACE FUNCTION lock_stock(p_store_id text, p_product_ids text[]) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- Every function locks stock here, by product: two callers can wait, never deadlock. LATERAL
    -- looks each row up by its key, also while no statistics tell the planner to.
    PERFORM FROM (
        SELECT DISTINCT id COLLATE "C" AS id FROM unnest(p_product_ids) AS w (id) ORDER BY 1
    ) AS n
    CROSS JOIN LATERAL (
        SELECT FROM stock AS s
        WHERE s.store_id = p_store_id AND s.product_id = n.id FOR UPDATE
    ) AS s;
    v_now := clock_timestamp();  -- a variable, so that an index can be searched by it

    PERFORM FROM unnest(p_product_ids) AS n (id) CROSS JOIN LATERAL (
        SELECT FROM reservation_lines AS l
        WHERE l.store_id = p_store_id AND l.product_id = n.id
            AND l.held_until < 'infinity' AND l.held_until <= v_now
        ORDER BY l.held_until LIMIT 1
    ) AS l LIMIT 1;
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
