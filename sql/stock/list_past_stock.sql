CREATE OR REPLACE FUNCTION list_past_stock(
    p_store_id text, p_at timestamptz, p_after text DEFAULT '', p_limit bigint DEFAULT NULL
) RETURNS TABLE (product_id text, on_hand bigint, reserved bigint, available bigint)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_products text[];
    v_on_hand bigint[];
BEGIN
    -- The page's products first, each with the movement that was its last by then.
    SELECT array_agg(c.product_id), array_agg(c.on_hand_after) INTO v_products, v_on_hand
    FROM (
        SELECT p.product_id, m.on_hand_after
        FROM products AS p CROSS JOIN LATERAL (
            SELECT w.on_hand_after FROM stock_movements AS w
            WHERE w.store_id = p_store_id AND w.product_id = p.product_id AND w.created_at <= p_at
            ORDER BY w.number DESC LIMIT 1
        ) AS m
        WHERE p.store_id = p_store_id AND p.product_id > p_after COLLATE "C"
            AND m.on_hand_after <> 0
        ORDER BY p.product_id LIMIT p_limit
    ) AS c;

    RETURN QUERY
    SELECT c.product_id, c.on_hand, COALESCE(h.quantity, 0), c.on_hand - COALESCE(h.quantity, 0)
    FROM unnest(v_products, v_on_hand) AS c (product_id, on_hand)
    LEFT JOIN (
        SELECT r.product_id, sum(r.quantity)::bigint AS quantity
        FROM reservations AS r
        WHERE r.store_id = p_store_id AND r.product_id = ANY (v_products)
            AND r.created_at <= p_at AND COALESCE(r.closed_at > p_at, true)
            AND COALESCE(r.expires_at > p_at, true)
        GROUP BY r.product_id
    ) AS h ON h.product_id = c.product_id
    ORDER BY c.product_id COLLATE "C";
END $$;

COMMENT ON FUNCTION list_past_stock IS
    'What a store had of each product at a moment, from the ledger and the reservations of that '
    'time, by id, at most p_limit after p_after; products at zero are left out. A page looks at '
    'the ledger of its own products alone.';
