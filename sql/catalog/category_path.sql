CREATE OR REPLACE FUNCTION category_path(p_store_id text, p_category_id text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_path jsonb := jsonb '[]';
    v_next text := p_category_id;
    v_category categories;
BEGIN
    WHILE v_next IS NOT NULL LOOP
        SELECT * INTO v_category FROM categories AS c
        WHERE c.store_id = p_store_id AND c.category_id = v_next;
        v_next := v_category.parent_id;
        v_path := jsonb_build_array(jsonb_build_object(
            'category_id', v_category.category_id, 'name', v_category.name)) || v_path;
    END LOOP;
    RETURN v_path;
END $$;

COMMENT ON FUNCTION category_path IS
    'A category and those it is part of, the one of the first level first: an array of id and '
    'name.';
