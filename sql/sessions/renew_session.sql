CREATE OR REPLACE FUNCTION renew_session(
    p_store_id text, p_session_id bigint, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- Lock.
    PERFORM FROM sessions WHERE store_id = p_store_id AND session_id = p_session_id
    FOR NO KEY UPDATE;
    v_now := clock_timestamp();

    -- Check.
    result_code := CASE WHEN EXISTS (
            SELECT FROM open_sessions AS s
            WHERE s.store_id = p_store_id AND s.session_id = p_session_id
        ) THEN 'ok' ELSE 'unauthorized' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE sessions SET used_at = v_now
    WHERE store_id = p_store_id AND session_id = p_session_id;
    document := grant_document(p_store_id, p_session_id);
END $$;

COMMENT ON FUNCTION renew_session IS
    'Another token of a session, for a refresh token of the older service, which is shown again '
    'and again while the session lasts. Tokens given before stay good for their time. Codes: ok, '
    'unauthorized.';
