CREATE OR REPLACE FUNCTION judge_reservations(
    p_store_id text, p_reservation_ids text[], p_requested_at timestamptz[], p_ttls interval[],
    p_max_lifetime interval, p_line_requests int[], p_product_ids text[], p_quantities bigint[],
    OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_request record;
    v_code text;
    v_refused jsonb;
    v_count int := COALESCE(cardinality(p_reservation_ids), 0);
    v_taken int[] := array_fill(NULL::int, ARRAY[v_count]);
    v_left bigint[] := array_fill(NULL::bigint, ARRAY[COALESCE(cardinality(p_product_ids), 0)]);
    v_unknown text := CASE WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id)
        THEN 'unknown_product' ELSE 'unknown_store' END;
BEGIN
    result_codes := array_fill('invalid_request'::text, ARRAY[v_count]);
    documents := array_fill(NULL::jsonb, ARRAY[v_count]);

    -- One after another, in arrival order, on what the earlier ones leave: a big request that
    -- does not fit takes nothing from a small one behind it.
    FOR v_request IN
        SELECT * FROM reservation_requests(p_store_id, p_reservation_ids, p_requested_at, p_ttls,
            p_line_requests, p_product_ids, p_quantities)
    LOOP
        v_refused := NULL;
        FOR i IN 1 .. cardinality(v_request.products) LOOP
            v_left[v_request.products[i]] :=
                COALESCE(v_left[v_request.products[i]], v_request.available[i]);
            IF v_request.quantities[i] <= v_left[v_request.products[i]] THEN CONTINUE; END IF;
            v_refused := COALESCE(v_refused, '[]') || jsonb_build_object(
                'product_id', v_request.product_ids[i], 'quantity', v_request.quantities[i],
                'available', v_left[v_request.products[i]]);
        END LOOP;

        v_code := CASE
            WHEN v_request.replay_code IS NOT NULL THEN v_request.replay_code
            WHEN v_taken[v_request.same_id] = v_request.same_content THEN 'already_reserved'
            WHEN v_taken[v_request.same_id] IS NOT NULL THEN 'reservation_id_reused'
            WHEN p_ttls[v_request.number] > p_max_lifetime THEN 'lifetime_too_long'
            WHEN array_position(v_request.available, NULL) IS NOT NULL THEN v_unknown
            WHEN v_refused IS NOT NULL THEN 'insufficient_stock'
            ELSE 'ok' END;
        result_codes[v_request.number] := v_code;
        IF v_code = 'unknown_product' THEN
            v_refused := jsonb_path_query_array(v_refused, '$[*] ? (@.available == null)');
        END IF;
        IF v_code <> 'ok' THEN
            documents[v_request.number] := refusal_document(
                v_code, v_request.is_hold, v_refused, p_max_lifetime);
            CONTINUE;
        END IF;

        v_taken[v_request.same_id] := v_request.same_content;
        FOR i IN 1 .. cardinality(v_request.products) LOOP
            v_left[v_request.products[i]] :=
                v_left[v_request.products[i]] - v_request.quantities[i];
        END LOOP;
    END LOOP;
END $$;

COMMENT ON FUNCTION judge_reservations IS
    'What each of many reservation requests would be answered, run one after another in arrival '
    'order: a result code and, of a refusal, its facts. The caller holds the locks and does the '
    'writing.';
