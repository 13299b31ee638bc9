CREATE OR REPLACE FUNCTION confirm_totp(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_secret text, p_otp_step bigint,
    p_actor text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_totp user_totp;
BEGIN
    -- Lock.
    PERFORM FROM users WHERE store_id = p_store_id AND user_id = p_user_id FOR NO KEY UPDATE;
    SELECT * INTO v_totp FROM user_totp WHERE store_id = p_store_id AND user_id = p_user_id;

    -- Check.
    result_code := CASE
        WHEN v_totp.user_id IS NULL THEN 'unknown_totp'
        WHEN v_totp.confirmed_at IS NOT NULL THEN 'already_enrolled'
        WHEN p_otp_step IS NULL OR v_totp.secret <> p_secret THEN 'wrong_code'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Sessions that were begun without a code are over, but for the one that shows it.
    PERFORM set_change_context(p_actor);
    UPDATE user_totp SET confirmed_at = v_now, last_step = p_otp_step
    WHERE store_id = p_store_id AND user_id = p_user_id;
    PERFORM set_change_context(NULL);
    UPDATE sessions SET has_totp = session_id = p_session_id,
        ended_at = CASE WHEN session_id <> p_session_id THEN v_now END
    WHERE store_id = p_store_id AND user_id = p_user_id AND ended_at IS NULL;
END $$;

COMMENT ON FUNCTION confirm_totp IS
    'From now on the user signs in with a one-time password, too, of which a first one was shown; '
    'the user''s other sessions are over. Codes: ok, already_enrolled, unknown_totp, wrong_code.';
