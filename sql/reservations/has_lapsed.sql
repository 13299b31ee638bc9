CREATE OR REPLACE FUNCTION has_lapsed(p_store_id text, p_product_ids text[]) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();  -- a variable, so that an index can be searched by it
BEGIN
    PERFORM FROM unnest(p_product_ids) AS n (id) CROSS JOIN LATERAL (
        SELECT FROM reservations AS r
        WHERE r.store_id = p_store_id AND r.product_id = n.id
            AND r.status = 'held' AND r.expires_at IS NOT NULL AND r.expires_at <= v_now
        ORDER BY r.expires_at LIMIT 1
    ) AS l LIMIT 1;
    RETURN FOUND;
END $$;

COMMENT ON FUNCTION has_lapsed IS
    'Whether a hold of some of the products has lapsed whose units still count in their stock.';
