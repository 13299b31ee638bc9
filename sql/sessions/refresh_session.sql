CREATE OR REPLACE FUNCTION refresh_session(
    p_store_id text, p_session_id bigint, p_token_number int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_grace CONSTANT interval := interval '30 seconds';
    v_now timestamptz;
    v_is_good boolean;
BEGIN
    -- Lock.
    PERFORM FROM sessions WHERE store_id = p_store_id AND session_id = p_session_id
    FOR NO KEY UPDATE;
    v_now := clock_timestamp();

    -- Check.
    v_is_good := EXISTS (
        SELECT FROM open_sessions AS s
        WHERE s.store_id = p_store_id AND s.session_id = p_session_id
            AND (s.token_number = p_token_number
                OR s.token_number = p_token_number + 1 AND s.previous_until > v_now)
    );
    result_code := CASE WHEN v_is_good THEN 'ok' ELSE 'unauthorized' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. The predecessor, asked to refresh again, gets the same successor: its time goes on.
    UPDATE sessions SET token_number = p_token_number + 1, used_at = v_now,
        previous_until = CASE WHEN token_number = p_token_number THEN v_now + v_grace
            ELSE previous_until END
    WHERE store_id = p_store_id AND session_id = p_session_id;
    document := grant_document(p_store_id, p_session_id);
END $$;

COMMENT ON FUNCTION refresh_session IS
    'A new token for one that is still good, which is taken for 30 seconds more, or a lost answer '
    'would sign its user out. Codes: ok, unauthorized.';
