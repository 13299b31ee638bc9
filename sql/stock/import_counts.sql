CREATE OR REPLACE FUNCTION import_counts(
    p_store_id text, p_add boolean, p_after text, p_limit int, p_reference text, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[];
    v_names text[];
    v_quantities bigint[];
    v_prices bigint[];
    v_last text;
BEGIN
    SELECT array_agg(l.product_id), array_agg(NULLIF(l.name, '')),
        array_agg(l.quantity::bigint), array_agg(NULLIF(l.price, '')::bigint), max(l.product_id)
    INTO v_products, v_names, v_quantities, v_prices, v_last
    FROM (
        SELECT product_id, name, quantity, price FROM import_lines
        WHERE store_id = p_store_id AND product_id > p_after COLLATE "C"
        ORDER BY product_id LIMIT p_limit
    ) AS l;

    -- Lock. Products come in order, so the locks of earlier calls are of smaller ids.
    PERFORM lock_stock(p_store_id, v_products);

    -- Check. What was reserved since the lines were checked counts now. LATERAL looks each row up
    -- by its key: a join would read the whole table at every call.
    result_code := 'ok';
    IF EXISTS (
        SELECT FROM unnest(v_products, v_quantities) AS n (product_id, quantity)
        CROSS JOIN LATERAL (
            SELECT on_hand, reserved FROM stock
            WHERE store_id = p_store_id AND product_id = n.product_id LIMIT 1
        ) AS s
        WHERE n.quantity < CASE WHEN p_add THEN 0 ELSE s.reserved END
            OR (p_add AND n.quantity > 9223372036854775807 - s.on_hand)
    ) THEN
        SELECT c.* INTO result_code, document
        FROM check_import(p_store_id, p_add, p_after, v_last) AS c;
        RETURN;
    END IF;

    -- Write.
    PERFORM set_change_context(p_actor, 'import', p_reference),
        set_config('holdfast.bulk', 'on', true);
    UPDATE products AS p SET name = COALESCE(n.name, p.name), price = COALESCE(n.price, p.price)
    FROM unnest(v_products, v_names, v_prices) AS n (product_id, name, price)
    WHERE p.store_id = p_store_id AND p.product_id = n.product_id
        AND (COALESCE(n.name, p.name), COALESCE(n.price, p.price))
            IS DISTINCT FROM (p.name, p.price);
    UPDATE stock AS s
    SET on_hand = n.quantity + CASE WHEN p_add THEN s.on_hand ELSE 0 END
    FROM unnest(v_products, v_quantities) AS n (product_id, quantity)
    WHERE s.store_id = p_store_id AND s.product_id = n.product_id
        AND n.quantity <> CASE WHEN p_add THEN 0 ELSE s.on_hand END;
    PERFORM set_change_context(NULL), set_config('holdfast.bulk', '', true);
    document := jsonb_build_object('lines', COALESCE(cardinality(v_products), 0), 'last', v_last);
END $$;

COMMENT ON FUNCTION import_counts IS
    'Set what is on hand (p_add: add to it), names and prices from the next p_limit lines of '
    'import_lines after p_after. The document tells how many, and the last product, null at the '
    'end; of a refusal, after which the transaction has to be rolled back, as check_import(). For '
    'the owner. Codes: ok, invalid_lines.';
