CREATE OR REPLACE FUNCTION create_product(
    p_store_id text, p_product_id text, p_name text, p_price bigint, p_is_active boolean,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_product products;
BEGIN
    -- Check. A twin that is not committed yet is met at the primary key, and found the next time.
    SELECT * INTO v_product FROM products
    WHERE store_id = p_store_id AND product_id = p_product_id;
    result_code := CASE
        WHEN num_nulls(p_product_id, p_name, p_is_active) > 0 OR p_price < 0
            THEN 'invalid_request'
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_product.product_id IS NULL THEN 'created'
        WHEN (v_product.name, v_product.price, v_product.is_active)
            IS NOT DISTINCT FROM (p_name, p_price, p_is_active) THEN 'already_created'
        ELSE 'product_id_reused' END;

    -- Write.
    IF result_code = 'created' THEN
        PERFORM set_change_context(p_actor);
        INSERT INTO products (store_id, product_id, name, price, is_active)
        VALUES (p_store_id, p_product_id, p_name, p_price, p_is_active);
        PERFORM set_change_context(NULL);
    END IF;
    document := describe_products(p_store_id, ARRAY[p_product_id]) -> 0;
END $$;

COMMENT ON FUNCTION create_product IS
    'Add a product to a store, with nothing on hand; the price of one unit is in minor units, null '
    'where it is not for sale. Codes: created, already_created (just so), product_id_reused '
    '(otherwise), unknown_store, invalid_request.';
