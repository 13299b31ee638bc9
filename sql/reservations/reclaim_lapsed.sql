CREATE OR REPLACE FUNCTION reclaim_lapsed(
    p_store_id text, p_product_ids text[], p_now timestamptz
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_product_id text;
    v_units bigint;
BEGIN
    -- Product by product: a join of arrays would read the whole store while no statistics tell the
    -- planner not to.
    PERFORM set_config('holdfast.reason', 'expire', true);
    FOR v_product_id IN
        SELECT DISTINCT n.id FROM unnest(p_product_ids) AS n (id) CROSS JOIN LATERAL (
            SELECT FROM reservations AS r
            WHERE r.store_id = p_store_id AND r.product_id = n.id
                AND r.status = 'held' AND r.expires_at IS NOT NULL AND r.expires_at <= p_now
            ORDER BY r.expires_at LIMIT 1
        ) AS l
    LOOP
        WITH lapsed AS (
            UPDATE reservations SET status = 'expired', closed_at = expires_at
            WHERE store_id = p_store_id AND product_id = v_product_id
                AND status = 'held' AND expires_at IS NOT NULL AND expires_at <= p_now
            RETURNING quantity
        )
        SELECT sum(quantity)::bigint INTO v_units FROM lapsed;
        UPDATE stock SET reserved = reserved - v_units
        WHERE store_id = p_store_id AND product_id = v_product_id;
    END LOOP;
    PERFORM set_config('holdfast.reason', '', true);
END $$;

COMMENT ON FUNCTION reclaim_lapsed IS
    'Take the units of lines that lapsed by p_now back into stock that the caller has locked: '
    'while it has, such a line can be neither committed nor extended.';
