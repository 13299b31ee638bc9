CREATE OR REPLACE FUNCTION replace_password(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_known_hash text,
    p_is_right boolean, p_new_hash text, p_address text, p_user_agent text,
    p_lifetime interval, p_idle_limit interval, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user users;
    v_has_totp boolean;
BEGIN
    -- Lock.
    SELECT * INTO v_user FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id FOR NO KEY UPDATE;

    -- Check. As for signing in; a code was given then, if one is asked for.
    result_code := CASE
        WHEN v_user.user_id IS NULL THEN 'unauthorized'
        WHEN p_is_right AND v_user.is_active AND v_user.password_hash = p_known_hash THEN 'ok'
        ELSE 'wrong_credentials' END;
    IF result_code <> 'unauthorized' THEN
        PERFORM settle_try(p_store_id, v_user.login, p_user_id, p_address, result_code);
    END IF;
    IF result_code <> 'ok' OR p_new_hash IS NULL THEN RETURN; END IF;

    -- Write.
    SELECT has_totp INTO v_has_totp FROM sessions
    WHERE store_id = p_store_id AND user_id = p_user_id AND session_id = p_session_id;
    PERFORM set_password(p_store_id, p_user_id, p_new_hash, 'user:' || p_user_id);
    document := begin_session(
        p_store_id, p_user_id, COALESCE(v_has_totp, false), p_address, p_user_agent, p_lifetime,
        p_idle_limit);
END $$;

COMMENT ON FUNCTION replace_password IS
    'Change the password of a user who told the old one, and sign in anew: every session until '
    'now is over. Without p_new_hash the try is settled and nothing changes. Codes: ok, '
    'wrong_credentials, unauthorized (there is no such user any more).';
