CREATE OR REPLACE FUNCTION move_stock_batch(
    p_store_id text, p_operations text[], p_references text[], p_actors text[],
    p_line_operations int[], p_product_ids text[], p_quantities bigint[],
    OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- As for reserve_stock_batch: one plan for every batch, which looks rows up by their key.
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_lines int[] := COALESCE(
        p_line_operations, ARRAY(SELECT generate_series(1, cardinality(p_product_ids))));
    v_created text[];
    v_movements jsonb;
BEGIN
    -- Lock. What is brought in for the first time gets its rows before that, without a price.
    IF EXISTS (
        SELECT FROM unnest(p_product_ids) AS n (id)
        LEFT JOIN LATERAL (
            SELECT true AS is_known FROM stock AS s
            WHERE s.store_id = p_store_id AND s.product_id = n.id LIMIT 1
        ) AS k ON true
        WHERE k.is_known IS NULL
    ) THEN
        v_created := create_supplied_products(
            p_store_id, p_operations, v_lines, p_product_ids, p_quantities);
    END IF;
    PERFORM lock_stock(p_store_id, p_product_ids);

    -- Check. Supplies are never refused; a sum too large for a bigint is an exception.
    SELECT j.result_codes, j.documents, to_jsonb(j.movements)
    INTO result_codes, documents, v_movements
    FROM judge_movements(p_store_id, p_operations, p_references, p_actors, v_lines,
        p_product_ids, p_quantities, v_created) AS j;
    IF v_movements IS NULL THEN RETURN; END IF;

    -- Write.
    PERFORM make_movements(p_store_id, v_movements);
END $$;

COMMENT ON FUNCTION move_stock_batch IS
    'Bring products in (supply; unknown ones are created) or take them out (demand): many '
    'operations of one store in one transaction, each answered by its own code, in arrival order, '
    'as if they had come one by one. Arrays: per operation what it is, its reference and its '
    'actor; per line the number of its operation from 1 (null: line n is operation n), product and '
    'quantity (1 to 2147483647). At most 1000 lines an operation, all or none, repeated products '
    'summed. documents: the report of the products, as the operation left them; of a refusal every '
    'item in the way. Codes: ok, insufficient_stock, unknown_product, unknown_store, '
    'invalid_request.';
