CREATE OR REPLACE FUNCTION list_users(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'users', COALESCE(
            jsonb_agg(user_document(p_store_id, u.user_id) ORDER BY u.user_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(u.user_id) END)
    INTO document
    FROM (
        SELECT user_id FROM users
        WHERE store_id = p_store_id AND user_id > COALESCE(p_after, 0)
        ORDER BY user_id LIMIT p_limit
    ) AS u;
END $$;

COMMENT ON FUNCTION list_users IS
    'Users of a store by id, at most p_limit after p_after; next is the p_after of the page that '
    'follows, or null. Codes: ok, unknown_store.';
