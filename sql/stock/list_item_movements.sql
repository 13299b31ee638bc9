CREATE OR REPLACE FUNCTION list_item_movements(
    p_store_id text, p_product_id text, p_after bigint, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN NOT EXISTS (
            SELECT FROM products WHERE store_id = p_store_id AND product_id = p_product_id
        ) THEN 'unknown_product'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    SELECT jsonb_build_object(
        'movements', COALESCE(jsonb_agg(jsonb_build_object(
            'number', m.number, 'delta', m.delta, 'quantity_after', m.on_hand_after,
            'reason', m.reason, 'reference', m.reference, 'actor', m.actor,
            'created_at', rfc3339(m.created_at)) ORDER BY m.number DESC), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN min(m.number) END)
    INTO document
    FROM (
        SELECT * FROM stock_movements
        WHERE store_id = p_store_id AND product_id = p_product_id
            AND number < COALESCE(p_after, 9223372036854775807)
        ORDER BY number DESC LIMIT p_limit
    ) AS m;
END $$;

COMMENT ON FUNCTION list_item_movements IS
    'What changed one product''s stock, newest first, at most p_limit before number p_after; next '
    'is the p_after of the page that follows, or null. Codes: ok, unknown_product, unknown_store.';
