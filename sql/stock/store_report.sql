CREATE OR REPLACE FUNCTION store_report(
    p_store_id text, p_product_ids text[] DEFAULT NULL,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_report jsonb;
BEGIN
    IF p_product_ids IS NULL THEN
        SELECT r.* INTO result_code, document FROM read_store(p_store_id, NULL, NULL, NULL) AS r;
        RETURN;
    END IF;

    SELECT COALESCE(min(i.result_code), 'ok'), COALESCE(jsonb_agg(jsonb_build_object(
        'item_id', i.product_id, 'quantity', i.on_hand,
        'reserved', i.reserved, 'available', i.available) ORDER BY i.product_id), '[]')
    INTO result_code, v_report
    FROM list_stock(p_store_id, p_product_ids) AS i;
    IF result_code = 'ok' THEN
        document := jsonb_build_object(
            'store', jsonb_build_object('store_id', p_store_id, 'report', v_report));
    END IF;
END $$;

COMMENT ON FUNCTION store_report IS
    'read_store() of now: of all items not at zero, or of those named, at zero too. Codes: ok, '
    'unknown_store, too_many_items.';
