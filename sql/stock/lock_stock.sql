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
        SELECT FROM reservations AS r
        WHERE r.store_id = p_store_id AND r.product_id = n.id
            AND r.status = 'held' AND r.expires_at IS NOT NULL AND r.expires_at <= v_now
        ORDER BY r.expires_at LIMIT 1
    ) AS l LIMIT 1;
    IF FOUND THEN
        PERFORM reclaim_lapsed(p_store_id, p_product_ids, v_now);
    END IF;
END $$;

COMMENT ON FUNCTION lock_stock IS
    'Lock the stock rows of some products in the house''s one order and give the units of '
    'their lapsed holds back, so that what is available is exact until the transaction ends.';
