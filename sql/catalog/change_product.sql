CREATE OR REPLACE FUNCTION change_product(
    p_store_id text, p_product_id text, p_name text, p_price bigint, p_is_active boolean,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock. No stronger than an UPDATE does: foreign keys of the product's lines do not wait.
    PERFORM FROM products
    WHERE store_id = p_store_id AND product_id = p_product_id FOR NO KEY UPDATE;

    -- Check.
    result_code := CASE
        WHEN num_nulls(p_name, p_is_active) > 0 OR p_price < 0 THEN 'invalid_request'
        WHEN FOUND THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_product'
        ELSE 'unknown_store' END;

    -- Write.
    IF result_code = 'ok' THEN
        PERFORM set_change_context(p_actor);
        UPDATE products SET name = p_name, price = p_price, is_active = p_is_active
        WHERE store_id = p_store_id AND product_id = p_product_id
            AND (name, price, is_active) IS DISTINCT FROM (p_name, p_price, p_is_active);
        PERFORM set_change_context(NULL);
    END IF;
    document := describe_products(p_store_id, ARRAY[p_product_id]) -> 0;
END $$;

COMMENT ON FUNCTION change_product IS
    'Set name, price (of one unit, in minor units; null: not for sale) and whether a product is '
    'offered. What is held stays held. Codes: ok, unknown_product, unknown_store, '
    'invalid_request.';
