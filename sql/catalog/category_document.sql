CREATE OR REPLACE FUNCTION category_document(p_store_id text, p_category_id text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object('category_id', c.category_id, 'name', c.name,
            'parent_id', c.parent_id, 'child_count', c.child_count)
        FROM category_list AS c
        WHERE c.store_id = p_store_id AND c.category_id = p_category_id
    );
END $$;

COMMENT ON FUNCTION category_document IS 'A category as callers see it; null where there is none.';
