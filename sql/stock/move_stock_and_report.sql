CREATE OR REPLACE FUNCTION move_stock_and_report(
    p_store_id text, p_operation text, p_product_ids text[], p_quantities bigint[],
    p_reference text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_room int := most_items() - COALESCE(cardinality(p_product_ids), 0);
    v_count bigint;
BEGIN
    -- Check. A store that one document cannot hold is not changed: nobody would be told.
    v_count := (SELECT count(*) FROM (
        SELECT FROM stock WHERE store_id = p_store_id AND on_hand <> 0
        LIMIT GREATEST(v_room, 0) + 1
    ) AS s);
    IF v_count > v_room THEN
        result_code := 'too_many_items';
        document := jsonb_build_object('most', most_items());
        RETURN;
    END IF;

    -- Write, and tell in the same transaction: no lost connection comes between the two.
    SELECT m.result_code, m.document INTO result_code, document
    FROM move_stock(
        p_store_id, p_operation, p_product_ids, p_quantities, p_reference, p_actor) AS m;
    IF result_code <> 'ok' THEN RETURN; END IF;
    SELECT r.document INTO document FROM read_store(p_store_id, NULL, '', most_items()) AS r;
    document := document - 'next';
END $$;

COMMENT ON FUNCTION move_stock_and_report IS
    'move_stock() for clients of the older service, who are told what the whole store has then. '
    'Codes: ok, insufficient_stock, unknown_product, unknown_store, invalid_request, '
    'too_many_items.';
