CREATE OR REPLACE FUNCTION touch_session(
    p_store_id text, p_session_id bigint, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM FROM sessions WHERE store_id = p_store_id AND session_id = p_session_id
    FOR NO KEY UPDATE SKIP LOCKED;
    IF FOUND THEN
        UPDATE sessions SET used_at = v_now
        WHERE store_id = p_store_id AND session_id = p_session_id AND used_at < v_now;
    END IF;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION touch_session IS
    'Write down that a session is used; while another does, or ends it, there is no need. '
    'Code: ok.';
