CREATE OR REPLACE FUNCTION stock_as_of(p_store_id text, p_at timestamptz)
RETURNS TABLE (product_id text, on_hand bigint, reserved bigint, available bigint)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH held AS (
        SELECT r.product_id, sum(r.quantity)::bigint AS quantity
        FROM reservations AS r
        WHERE r.store_id = p_store_id AND r.created_at <= p_at
            AND COALESCE(r.closed_at > p_at, true) AND COALESCE(r.expires_at > p_at, true)
        GROUP BY r.product_id
    ), counted AS (
        SELECT p.product_id, m.on_hand_after
        FROM products AS p CROSS JOIN LATERAL (
            SELECT w.on_hand_after FROM stock_movements AS w
            WHERE w.store_id = p_store_id AND w.product_id = p.product_id AND w.created_at <= p_at
            ORDER BY w.number DESC LIMIT 1
        ) AS m
        WHERE p.store_id = p_store_id
    )
    SELECT c.product_id, c.on_hand_after, COALESCE(h.quantity, 0),
        c.on_hand_after - COALESCE(h.quantity, 0)
    FROM counted AS c LEFT JOIN held AS h USING (product_id)
    WHERE c.on_hand_after <> 0
    ORDER BY c.product_id;
END $$;

COMMENT ON FUNCTION stock_as_of IS
    'What a store had of each product at a moment, from the ledger and the reservations of that '
    'time; products at zero are left out. '
    'SELECT * FROM stock_as_of(''main'', ''2026-11-21T10:00Z'');';
