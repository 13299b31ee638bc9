CREATE OR REPLACE FUNCTION list_hooks(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_hook_ids bigint[] := ARRAY(
        SELECT hook_id FROM hooks
        WHERE store_id = p_store_id AND hook_id > COALESCE(p_after, 0)
        ORDER BY hook_id LIMIT p_limit
    );
BEGIN
    result_code := CASE
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'ok'
        ELSE 'unknown_store' END;
    document := jsonb_build_object(
        'hooks', hook_documents(p_store_id, v_hook_ids),
        'next', CASE WHEN cardinality(v_hook_ids) = p_limit THEN v_hook_ids[p_limit] END);
END $$;

COMMENT ON FUNCTION list_hooks IS
    'Targets of a store by id, at most p_limit after p_after; next is the p_after of the page '
    'that follows, or null. Codes: ok, unknown_store.';
