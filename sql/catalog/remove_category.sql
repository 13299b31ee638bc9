CREATE OR REPLACE FUNCTION remove_category(
    p_store_id text, p_category_id text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_child_count bigint;
    v_has_products boolean;
BEGIN
    -- Lock. Nobody can put anything into it any more.
    PERFORM lock_categories(p_store_id);
    PERFORM FROM categories
    WHERE store_id = p_store_id AND category_id = p_category_id FOR UPDATE;

    -- Check.
    SELECT count(*) INTO v_child_count FROM categories
    WHERE store_id = p_store_id AND parent_id = p_category_id;
    v_has_products := EXISTS (
        SELECT FROM products WHERE store_id = p_store_id AND category_id = p_category_id
    );
    result_code := CASE
        WHEN NOT EXISTS (
            SELECT FROM categories WHERE store_id = p_store_id AND category_id = p_category_id
        ) THEN 'unknown_category'
        WHEN v_child_count > 0 OR v_has_products THEN 'category_not_empty'
        ELSE 'ok' END;
    document := jsonb_build_object('category_id', p_category_id);
    IF result_code <> 'ok' THEN
        document := document || jsonb_build_object(
            'child_count', v_child_count, 'has_products', v_has_products);
        RETURN;
    END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    DELETE FROM categories WHERE store_id = p_store_id AND category_id = p_category_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION remove_category IS
    'Remove a category that nothing is part of. Codes: ok, category_not_empty, unknown_category.';
