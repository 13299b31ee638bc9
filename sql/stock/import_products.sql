CREATE OR REPLACE FUNCTION import_products(
    p_store_id text, p_after text, p_limit int, p_reference text, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[];
    v_names text[];
    v_quantities bigint[];
    v_prices bigint[];
    v_last text;
    v_created bigint;
BEGIN
    result_code := 'ok';
    SELECT array_agg(l.product_id) FILTER (WHERE k.is_there IS NULL),
        array_agg(COALESCE(l.name, '')) FILTER (WHERE k.is_there IS NULL),
        array_agg(l.quantity::bigint) FILTER (WHERE k.is_there IS NULL),
        array_agg(NULLIF(l.price, '')::bigint) FILTER (WHERE k.is_there IS NULL),
        max(l.product_id)
    INTO v_products, v_names, v_quantities, v_prices, v_last
    FROM (
        SELECT product_id, name, quantity, price FROM import_lines
        WHERE store_id = p_store_id AND product_id > p_after COLLATE "C"
        ORDER BY product_id LIMIT p_limit
    ) AS l
    LEFT JOIN LATERAL (
        SELECT true AS is_there FROM products AS p
        WHERE p.store_id = p_store_id AND p.product_id = l.product_id LIMIT 1
    ) AS k ON true;

    INSERT INTO products (store_id, product_id, name, price)
    SELECT p_store_id, n.product_id, n.name, n.price
    FROM unnest(v_products, v_names, v_prices) AS n (product_id, name, price)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_created = ROW_COUNT;
    document := jsonb_build_object('created', v_created, 'last', v_last);

    -- Nobody else has seen these rows of stock yet, so there is nothing to lock, nor promised.
    -- Where a racing twin has made some of them, all are left to import_counts().
    IF v_created = cardinality(v_products) THEN
        PERFORM set_change_context(p_actor, 'import', p_reference),
            set_config('holdfast.bulk', 'on', true);
        UPDATE stock AS s SET on_hand = n.quantity
        FROM unnest(v_products, v_quantities) AS n (product_id, quantity)
        WHERE s.store_id = p_store_id AND s.product_id = n.product_id AND n.quantity <> 0;
        PERFORM set_change_context(NULL), set_config('holdfast.bulk', '', true);
        DELETE FROM import_lines AS l USING unnest(v_products) AS n (product_id)
        WHERE l.store_id = p_store_id AND l.product_id = n.product_id;
    END IF;
END $$;

COMMENT ON FUNCTION import_products IS
    'Of the next p_limit lines of import_lines after p_after take those of products that are not '
    'there yet, and create them with their stock; before any other stock is locked. The document '
    'tells how many, and the last product looked at, null at the end. For the owner. Codes: ok.';
