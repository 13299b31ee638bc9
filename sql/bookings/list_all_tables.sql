CREATE OR REPLACE FUNCTION list_all_tables(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'tables', COALESCE(jsonb_agg(table_document(f) ORDER BY f.table_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(f.table_id) END)
    INTO document
    FROM (
        SELECT * FROM dining_tables AS t
        WHERE t.store_id = p_store_id AND t.table_id > COALESCE(p_after, 0)
        ORDER BY t.table_id LIMIT p_limit
    ) AS f;
END $$;

COMMENT ON FUNCTION list_all_tables IS
    'All tables of a store, closed ones, too, by id, at most p_limit after p_after; next is the '
    'p_after of the page that follows, or null. Codes: ok, unknown_store.';
