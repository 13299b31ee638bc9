CREATE OR REPLACE FUNCTION past_report(
    p_store_id text, p_at timestamptz, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    document := jsonb_build_object('store', jsonb_build_object(
        'store_id', p_store_id,
        'report', (
            SELECT COALESCE(jsonb_agg(jsonb_build_object(
                'item_id', s.product_id, 'quantity', s.on_hand,
                'reserved', s.reserved, 'available', s.available) ORDER BY s.product_id), '[]')
            FROM stock_as_of(p_store_id, p_at) AS s
        )));
END $$;

COMMENT ON FUNCTION past_report IS
    'store_report() as it would have been at a moment. Codes: ok, unknown_store.';
