CREATE OR REPLACE FUNCTION list_sessions(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_after bigint, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := 'ok';
    SELECT jsonb_build_object(
        'sessions', COALESCE(jsonb_agg(jsonb_build_object(
            'session_id', s.session_id, 'is_current', s.session_id = p_session_id,
            'address', s.address, 'user_agent', s.user_agent, 'has_totp', s.has_totp,
            'signed_in_at', rfc3339(s.signed_in_at), 'last_used_at', rfc3339(s.used_at),
            'expires_at', rfc3339(LEAST(s.expires_at, s.used_at + s.idle_limit))
        ) ORDER BY s.session_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(s.session_id) END)
    INTO document
    FROM (
        SELECT * FROM open_sessions
        WHERE store_id = p_store_id AND user_id = p_user_id AND session_id > COALESCE(p_after, 0)
        ORDER BY session_id LIMIT p_limit
    ) AS s;
END $$;

COMMENT ON FUNCTION list_sessions IS
    'Where a user is signed in, oldest first, at most p_limit after p_after; is_current marks '
    'p_session_id, next is the p_after of the page that follows, or null. Codes: ok.';
