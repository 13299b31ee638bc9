CREATE OR REPLACE FUNCTION complete_sign_in(
    p_store_id text, p_login text, p_user_id bigint, p_known_hash text, p_is_right boolean,
    p_has_otp boolean, p_otp_step bigint, p_address text, p_user_agent text,
    p_lifetime interval, p_idle_limit interval, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user users;
    v_totp user_totp;
    v_wait int := 0;
BEGIN
    -- Lock. Whoever disables the user, or takes the same code, waits.
    SELECT * INTO v_user FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id AND password_hash = p_known_hash
        AND is_active AND p_is_right
    FOR NO KEY UPDATE;
    SELECT * INTO v_totp FROM user_totp
    WHERE store_id = p_store_id AND user_id = v_user.user_id AND confirmed_at IS NOT NULL;

    -- Check. Codes are counted for the login alone: who tries one knows the password.
    IF v_totp.user_id IS NOT NULL AND p_has_otp THEN
        SELECT c.retry_after INTO v_wait FROM count_try(
            p_store_id, 'code ' || lower(p_login), 10, interval '15 minutes') AS c;
    END IF;
    result_code := CASE
        WHEN v_user.user_id IS NULL THEN 'wrong_credentials'
        WHEN v_totp.user_id IS NULL THEN 'ok'
        WHEN NOT p_has_otp THEN 'otp_required'
        WHEN v_wait > 0 THEN 'too_many_requests'
        WHEN COALESCE(p_otp_step, 0) <= v_totp.last_step THEN 'wrong_credentials'
        ELSE 'ok' END;
    PERFORM settle_try(p_store_id, p_login, p_user_id, p_address, result_code);
    IF result_code <> 'ok' THEN
        document := CASE WHEN v_wait > 0 THEN jsonb_build_object('retry_after', v_wait) END;
        RETURN;
    END IF;

    -- Write. A code is good once.
    UPDATE user_totp SET last_step = p_otp_step
    WHERE store_id = p_store_id AND user_id = v_totp.user_id;
    document := begin_session(
        p_store_id, p_user_id, v_totp.user_id IS NOT NULL, p_address, p_user_agent, p_lifetime,
        p_idle_limit);
END $$;

COMMENT ON FUNCTION complete_sign_in IS
    'Sign a user in whose password, compared with p_known_hash, was right, as was the one-time '
    'password, of which p_otp_step says for which 30 seconds it is good. Codes: ok, '
    'otp_required, wrong_credentials (also unknown, not activated, disabled, changed meanwhile, '
    'or a code that was taken before), too_many_requests (ten wrong codes within 15 minutes).';
