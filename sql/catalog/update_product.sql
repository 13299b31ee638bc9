CREATE OR REPLACE FUNCTION update_product(
    p_store_id text, p_product_id text, p_fields jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_old products;
    v_new products;
BEGIN
    -- Lock. No stronger than an UPDATE does: foreign keys of the product's lines do not wait.
    SELECT * INTO v_old FROM products
    WHERE store_id = p_store_id AND product_id = p_product_id FOR NO KEY UPDATE;

    -- Check.
    result_code := check_product(p_store_id, p_product_id, p_fields);
    IF result_code = 'ok' AND v_old.product_id IS NULL THEN
        result_code := 'unknown_product';
    END IF;

    -- Write.
    v_new := v_old;
    IF result_code = 'ok' THEN
        v_new := jsonb_populate_record(v_old, p_fields);
    END IF;
    IF v_new IS DISTINCT FROM v_old THEN
        PERFORM set_change_context(p_actor);
        UPDATE products
        SET name = v_new.name, price = v_new.price, is_active = v_new.is_active,
            category_id = v_new.category_id, low_at = v_new.low_at
        WHERE store_id = p_store_id AND product_id = p_product_id;
        PERFORM set_change_context(NULL);
    END IF;
    document := CASE result_code
        WHEN 'unknown_category' THEN jsonb_build_object('category_id', p_fields -> 'category_id')
        ELSE describe_products(p_store_id, ARRAY[p_product_id]) -> 0 END;
END $$;

COMMENT ON FUNCTION update_product IS
    'Set what p_fields says of a product, see check_product; what it leaves out stays. What is '
    'held stays held, and what was bought keeps its price. Codes: ok, unknown_product, '
    'unknown_category, unknown_store, invalid_request.';
