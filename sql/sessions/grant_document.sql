CREATE OR REPLACE FUNCTION grant_document(p_store_id text, p_session_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'session_id', s.session_id, 'token_number', s.token_number,
            'user_id', s.user_id, 'role', u.role,
            'signed_in_at', floor(extract(epoch FROM s.signed_in_at))::bigint,
            'issued_at', floor(extract(epoch FROM s.used_at))::bigint,
            'expires_at', floor(extract(epoch FROM s.expires_at))::bigint
        )
        FROM sessions AS s JOIN users AS u ON u.store_id = s.store_id AND u.user_id = s.user_id
        WHERE s.store_id = p_store_id AND s.session_id = p_session_id
    );
END $$;

COMMENT ON FUNCTION grant_document IS
    'What the newest token of a session, made when it was used last, says: times in Unix seconds, '
    'expires_at of the session itself.';
