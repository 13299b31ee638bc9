CREATE OR REPLACE FUNCTION end_session(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_address text, p_actor text,
    OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_session sessions;
    v_login text;
    v_now timestamptz;
BEGIN
    -- Lock.
    SELECT * INTO v_session FROM sessions
    WHERE store_id = p_store_id AND user_id = p_user_id AND session_id = p_session_id
    FOR NO KEY UPDATE;
    v_now := clock_timestamp();

    -- Check.
    SELECT s.login INTO v_login FROM open_sessions AS s
    WHERE s.store_id = p_store_id AND s.session_id = v_session.session_id;
    result_code := CASE
        WHEN v_session.session_id IS NULL THEN 'unknown_session'
        WHEN v_login IS NULL THEN 'already_ended'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE sessions SET ended_at = v_now
    WHERE store_id = p_store_id AND session_id = p_session_id;
    PERFORM record_event(
        p_store_id, 'users/' || p_user_id, 'sign_out',
        jsonb_build_object(
            'login', v_login, 'address', p_address, 'session_id', p_session_id), p_actor);
END $$;

COMMENT ON FUNCTION end_session IS
    'A user''s session is over, whichever of its tokens is shown. Codes: ok, already_ended, '
    'unknown_session.';
