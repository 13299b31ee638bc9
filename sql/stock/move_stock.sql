CREATE OR REPLACE FUNCTION move_stock(
    p_store_id text, p_operation text, p_product_ids text[], p_quantities bigint[],
    p_reference text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[];
    v_quantities bigint[];
BEGIN
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN COALESCE(p_operation NOT IN ('supply', 'demand'), true)
            OR COALESCE(cardinality(p_product_ids) NOT BETWEEN 1 AND 1000, true)
            OR NOT (SELECT bool_and(COALESCE(
                    n.product_id <> '' AND n.quantity BETWEEN 1 AND 2147483647, false))
                FROM unnest(p_product_ids, p_quantities) AS n (product_id, quantity))
        THEN 'invalid_request' ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    SELECT array_agg(n.product_id), array_agg(n.quantity) INTO v_products, v_quantities
    FROM (
        SELECT product_id, sum(quantity)::bigint AS quantity
        FROM unnest(p_product_ids, p_quantities) AS w (product_id, quantity) GROUP BY product_id
    ) AS n;

    -- Lock. What is brought in for the first time gets its rows before that, without a price.
    IF p_operation = 'supply' THEN
        INSERT INTO products (store_id, product_id)
        SELECT p_store_id, product_id FROM unnest(v_products) AS n (product_id)
        ORDER BY product_id COLLATE "C" ON CONFLICT DO NOTHING;
    END IF;
    PERFORM lock_stock(p_store_id, v_products);

    -- Check. Supplies are never refused; a sum too large for a bigint is an exception.
    IF p_operation = 'demand' THEN
        SELECT j.* INTO result_code, document
        FROM judge_demand(p_store_id, v_products, v_quantities) AS j;
        IF result_code <> 'ok' THEN RETURN; END IF;
    END IF;

    -- Write.
    PERFORM set_change_context(p_actor, p_operation, p_reference);
    UPDATE stock AS s
    SET on_hand = s.on_hand + CASE p_operation WHEN 'supply' THEN n.quantity ELSE -n.quantity END
    FROM unnest(v_products, v_quantities) AS n (product_id, quantity)
    WHERE s.store_id = p_store_id AND s.product_id = n.product_id;
    PERFORM set_change_context(NULL);
    SELECT r.document INTO document FROM store_report(p_store_id, v_products) AS r;
END $$;

COMMENT ON FUNCTION move_stock IS
    'Bring products in (supply; unknown ones are created) or take them out (demand), all or none, '
    '1 to 1000 of 1 to 2147483647 units, repeated ones summed. The document is the report of '
    'those products, of a refusal every item in the way. Codes: ok, insufficient_stock, '
    'unknown_product, unknown_store, invalid_request.';
