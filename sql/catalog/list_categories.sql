CREATE OR REPLACE FUNCTION list_categories(
    p_store_id text, p_after text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := CASE
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'ok'
        ELSE 'unknown_store' END;
    SELECT jsonb_build_object(
        'categories', COALESCE(jsonb_agg(jsonb_build_object('category_id', f.category_id,
            'name', f.name, 'parent_id', f.parent_id, 'child_count', f.child_count)
            ORDER BY f.category_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(f.category_id) END)
    INTO document
    FROM (
        SELECT c.category_id, c.name, c.parent_id, c.child_count FROM category_list AS c
        WHERE c.store_id = p_store_id AND c.category_id > COALESCE(p_after, '')
        ORDER BY c.category_id LIMIT p_limit
    ) AS f;
END $$;

COMMENT ON FUNCTION list_categories IS
    'Categories of a store by id, at most p_limit after p_after, each with its parent and how many '
    'are right below it; next is the p_after of the page that follows, or null. Codes: ok, '
    'unknown_store.';
