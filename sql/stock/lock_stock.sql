CREATE OR REPLACE FUNCTION lock_stock(p_store_id text, p_product_ids text[]) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
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
    IF has_lapsed(p_store_id, p_product_ids) THEN
        PERFORM reclaim_lapsed(p_store_id, p_product_ids, clock_timestamp());
    END IF;
END $$;

COMMENT ON FUNCTION lock_stock IS
    'Lock the stock rows of some products in the house''s one order and give the units of '
    'their lapsed holds back, so that what is available is exact until the transaction ends.';
