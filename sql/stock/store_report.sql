CREATE OR REPLACE FUNCTION store_report(
    p_store_id text, p_product_ids text[] DEFAULT NULL,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_report jsonb;
BEGIN
    SELECT COALESCE(min(i.result_code), 'ok'), COALESCE(jsonb_agg(jsonb_build_object(
        'item_id', i.item_id, 'quantity', i.quantity,
        'reserved', i.reserved, 'available', i.available) ORDER BY i.item_id), '[]')
    INTO result_code, v_report
    FROM store_items(p_store_id, p_product_ids) AS i;
    IF result_code <> 'ok' THEN RETURN; END IF;

    document := jsonb_build_object(
        'store', jsonb_build_object('store_id', p_store_id, 'report', v_report));
END $$;

COMMENT ON FUNCTION store_report IS
    'What a store has, as callers see it: {"store": {"store_id", "report": [{"item_id", '
    '"quantity", "reserved", "available"}]}}, of all items not at zero, or of those named. '
    'Codes: ok, unknown_store.';
