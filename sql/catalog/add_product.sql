CREATE OR REPLACE FUNCTION add_product(
    p_store_id text, p_product_id text, p_fields jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_old products;
    v_new products;
BEGIN
    -- Check. A twin that is not committed yet is met at the primary key, and found the next time.
    SELECT * INTO v_old FROM products
    WHERE store_id = p_store_id AND product_id = p_product_id;
    result_code := check_product(p_store_id, p_product_id, p_fields);
    IF result_code = 'ok' THEN
        v_new := jsonb_populate_record(v_old, p_fields);
        result_code := CASE
            WHEN v_old.product_id IS NULL THEN 'created'
            WHEN v_new IS NOT DISTINCT FROM v_old THEN 'already_created'
            ELSE 'product_id_reused' END;
    END IF;

    -- Write.
    IF result_code = 'created' THEN
        PERFORM set_change_context(p_actor);
        INSERT INTO products (store_id, product_id, name, price, is_active, category_id, low_at)
        VALUES (p_store_id, p_product_id, COALESCE(v_new.name, ''), v_new.price,
            COALESCE(v_new.is_active, true), v_new.category_id, v_new.low_at);
        PERFORM set_change_context(NULL);
    END IF;
    document := CASE result_code
        WHEN 'unknown_category' THEN jsonb_build_object('category_id', p_fields -> 'category_id')
        ELSE describe_products(p_store_id, ARRAY[p_product_id]) -> 0 END;
END $$;

COMMENT ON FUNCTION add_product IS
    'Add a product to a store, with nothing on hand; see check_product for p_fields: without a '
    'price it is not for sale. Codes: created, already_created (just so), product_id_reused '
    '(otherwise), unknown_category, unknown_store, invalid_request.';
