CREATE OR REPLACE FUNCTION change_category(
    p_store_id text, p_category_id text, p_changes jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_category categories;
    v_name text := p_changes ->> 'name';
    v_parent_id text := p_changes ->> 'parent_id';
    v_path jsonb;
BEGIN
    -- Lock. The tree first, so that two moves wait and never deadlock, then what is moved.
    PERFORM lock_categories(p_store_id);
    SELECT * INTO v_category FROM categories
    WHERE store_id = p_store_id AND category_id = p_category_id FOR NO KEY UPDATE;
    PERFORM FROM categories
    WHERE store_id = p_store_id AND category_id = v_parent_id FOR KEY SHARE;

    -- Check.
    v_name := COALESCE(v_name, v_category.name);
    v_parent_id := CASE WHEN p_changes ? 'parent_id' THEN v_parent_id
        ELSE v_category.parent_id END;
    v_path := category_path(p_store_id, v_parent_id);
    document := jsonb_build_object('category_id',
        CASE WHEN v_category.category_id IS NULL THEN p_category_id ELSE v_parent_id END);
    result_code := CASE
        WHEN v_category.category_id IS NULL THEN 'unknown_category'
        WHEN v_parent_id IS NULL THEN 'ok'
        WHEN NOT EXISTS (
            SELECT FROM categories WHERE store_id = p_store_id AND category_id = v_parent_id
        ) THEN 'unknown_category'
        WHEN v_path @> jsonb_build_array(jsonb_build_object('category_id', p_category_id))
            THEN 'category_circle'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    UPDATE categories SET name = v_name, parent_id = v_parent_id
    WHERE store_id = p_store_id AND category_id = p_category_id
        AND (name, parent_id) IS DISTINCT FROM (v_name, v_parent_id);
    PERFORM set_change_context(NULL);
    document := category_document(p_store_id, p_category_id);
END $$;

COMMENT ON FUNCTION change_category IS
    'Rename a category, or move it with all that is below it: p_changes holds name, parent_id '
    '(null: to the first level); what it does not hold stays. Codes: ok, category_circle (the new '
    'parent is below it), unknown_category (it, or the parent).';
