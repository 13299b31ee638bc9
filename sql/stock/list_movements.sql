CREATE OR REPLACE FUNCTION list_movements(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    PERFORM sequence_movements(p_store_id);
    result_code := 'ok';
    SELECT jsonb_build_object(
        'movements', COALESCE(jsonb_agg(jsonb_build_object(
            'position', m.position, 'item_id', m.product_id, 'delta', m.delta,
            'quantity_after', m.on_hand_after, 'reason', m.reason, 'reference', m.reference,
            'actor', m.actor, 'created_at', rfc3339(m.created_at)) ORDER BY m.position), '[]'),
        'next', COALESCE(max(m.position), p_after))
    INTO document
    FROM (
        SELECT * FROM stock_movements
        WHERE store_id = p_store_id AND position > p_after
        ORDER BY position LIMIT p_limit
    ) AS m;
END $$;

COMMENT ON FUNCTION list_movements IS
    'The ledger of a store after position p_after, at most p_limit rows; next is the p_after to '
    'go on from, now or later: no row is ever missed or seen twice. Codes: ok, unknown_store.';
