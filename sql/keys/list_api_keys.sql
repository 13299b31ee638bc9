CREATE OR REPLACE FUNCTION list_api_keys(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'keys', COALESCE(jsonb_agg(jsonb_build_object(
            'key_id', k.key_id, 'name', k.name, 'scopes', k.scopes,
            'created_at', rfc3339(k.created_at), 'last_used_at', rfc3339(k.last_used_at),
            'expires_at', rfc3339(k.expires_at), 'revoked_at', rfc3339(k.revoked_at)
        ) ORDER BY k.key_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(k.key_id) END)
    INTO document
    FROM (
        SELECT * FROM api_keys WHERE store_id = p_store_id AND key_id > COALESCE(p_after, 0)
        ORDER BY key_id LIMIT p_limit
    ) AS k;
END $$;

COMMENT ON FUNCTION list_api_keys IS
    'Keys of a store by id, revoked ones too, at most p_limit after p_after; next is the p_after '
    'of the page that follows, or null. Codes: ok, unknown_store.';
