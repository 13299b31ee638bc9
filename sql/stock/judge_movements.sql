CREATE OR REPLACE FUNCTION judge_movements(
    p_store_id text, p_operations text[], p_references text[], p_actors text[],
    p_line_operations int[], p_product_ids text[], p_quantities bigint[], p_created text[],
    OUT result_codes text[], OUT documents jsonb[], OUT movements jsonb[]
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_request record;
    v_product int;
    v_delta bigint;
    v_available bigint;
    v_refused jsonb[];
    v_report jsonb[];
    v_is_known boolean;
    v_count int := COALESCE(cardinality(p_operations), 0);
    v_on_hand bigint[] := array_fill(NULL::bigint, ARRAY[COALESCE(cardinality(p_product_ids), 0)]);
    v_is_store boolean := EXISTS (SELECT FROM stores WHERE store_id = p_store_id);
BEGIN
    result_codes := array_fill(
        CASE WHEN v_is_store THEN 'invalid_request' ELSE 'unknown_store' END, ARRAY[v_count]);
    documents := array_fill(NULL::jsonb, ARRAY[v_count]);

    -- One after another, in arrival order, on what the earlier ones leave.
    FOR v_request IN
        SELECT * FROM movement_requests(p_store_id, p_operations, p_line_operations,
            p_product_ids, p_quantities, p_created) WHERE v_is_store
    LOOP
        v_refused := NULL;
        v_is_known := true;
        FOR i IN 1 .. cardinality(v_request.products) LOOP
            v_product := v_request.products[i];
            v_on_hand[v_product] := COALESCE(v_on_hand[v_product], v_request.on_hand[i]);
            v_available := v_on_hand[v_product] - v_request.reserved[i];
            CONTINUE WHEN v_request.is_supply OR v_request.quantities[i] <= v_available;
            v_is_known := v_is_known AND v_available IS NOT NULL;
            v_refused := v_refused || jsonb_build_object('item_id', v_request.product_ids[i],
                'quantity', v_request.quantities[i], 'available', v_available);
        END LOOP;
        IF v_refused IS NOT NULL THEN
            result_codes[v_request.number] :=
                CASE WHEN v_is_known THEN 'insufficient_stock' ELSE 'unknown_product' END;
            documents[v_request.number] := refused_items(v_refused);
            CONTINUE;
        END IF;

        v_report := NULL;
        FOR i IN 1 .. cardinality(v_request.products) LOOP
            v_product := v_request.products[i];
            v_delta := v_request.quantities[i] * CASE WHEN v_request.is_supply THEN 1 ELSE -1 END;
            v_on_hand[v_product] := COALESCE(v_on_hand[v_product], 0) + v_delta;
            v_report := v_report || jsonb_build_object(
                'item_id', v_request.product_ids[i], 'quantity', v_on_hand[v_product],
                'reserved', v_request.reserved[i],
                'available', v_on_hand[v_product] - v_request.reserved[i]);
            movements := movements || jsonb_build_object(
                'product_id', v_request.product_ids[i], 'delta', v_delta,
                'reason', p_operations[v_request.number],
                'reference', p_references[v_request.number],
                'actor', p_actors[v_request.number]);
        END LOOP;
        result_codes[v_request.number] := 'ok';
        documents[v_request.number] := jsonb_build_object('store', jsonb_build_object(
            'store_id', p_store_id, 'report', to_jsonb(v_report)));
    END LOOP;
END $$;

COMMENT ON FUNCTION judge_movements IS
    'What each of many supplies and demands is answered, run one after another in arrival order, '
    'and the movements of those that are granted. The caller holds the locks and does the '
    'writing.';
