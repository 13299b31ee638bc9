CREATE OR REPLACE FUNCTION read_category(
    p_store_id text, p_category_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    document := category_document(p_store_id, p_category_id)
        || jsonb_build_object('path', category_path(p_store_id, p_category_id));
    result_code := CASE WHEN document IS NULL THEN 'unknown_category' ELSE 'ok' END;
END $$;

COMMENT ON FUNCTION read_category IS
    'A category with its path from the first level. Codes: ok, unknown_category.';
