CREATE OR REPLACE FUNCTION create_category(
    p_store_id text, p_category_id text, p_name text, p_parent_id text, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_category categories;
BEGIN
    -- Lock.
    PERFORM lock_categories(p_store_id);
    PERFORM FROM categories
    WHERE store_id = p_store_id AND category_id = p_parent_id FOR KEY SHARE;

    -- Check.
    SELECT * INTO v_category FROM categories
    WHERE store_id = p_store_id AND category_id = p_category_id;
    result_code := CASE
        WHEN num_nulls(p_category_id, p_name) > 0 THEN 'invalid_request'
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN (v_category.name, v_category.parent_id) IS NOT DISTINCT FROM (p_name, p_parent_id)
            AND v_category.category_id IS NOT NULL THEN 'already_exists'
        WHEN v_category.category_id IS NOT NULL THEN 'category_id_reused'
        WHEN p_parent_id IS NULL OR EXISTS (
            SELECT FROM categories WHERE store_id = p_store_id AND category_id = p_parent_id
        ) THEN 'created'
        ELSE 'unknown_category' END;

    -- Write.
    IF result_code = 'created' THEN
        PERFORM set_change_context(p_actor);
        INSERT INTO categories (store_id, category_id, name, parent_id)
        VALUES (p_store_id, p_category_id, p_name, p_parent_id);
        PERFORM set_change_context(NULL);
    END IF;
    document := CASE result_code
        WHEN 'unknown_category' THEN jsonb_build_object('category_id', p_parent_id)
        ELSE category_document(p_store_id, p_category_id) END;
END $$;

COMMENT ON FUNCTION create_category IS
    'Add a category to the tree of a store, below p_parent_id or, where that is null, at the first '
    'level. Codes: created, already_exists (just so), category_id_reused (otherwise), '
    'unknown_category (the parent), unknown_store, invalid_request.';
