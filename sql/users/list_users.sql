CREATE OR REPLACE FUNCTION list_users(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_ids bigint[];
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    v_ids := ARRAY(
        SELECT user_id FROM users
        WHERE store_id = p_store_id AND user_id > COALESCE(p_after, 0)
        ORDER BY user_id LIMIT p_limit
    );
    result_code := 'ok';
    document := jsonb_build_object(
        'users', user_documents(p_store_id, v_ids),
        'next', CASE WHEN cardinality(v_ids) = p_limit THEN v_ids[p_limit] END);
END $$;

COMMENT ON FUNCTION list_users IS
    'Users of a store by id, at most p_limit after p_after; next is the p_after of the page that '
    'follows, or null. Codes: ok, unknown_store.';
