CREATE OR REPLACE FUNCTION begin_session(
    p_store_id text, p_user_id bigint, p_has_totp boolean, p_address text, p_user_agent text,
    p_lifetime interval, p_idle_limit interval
) RETURNS jsonb
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_user users;
    v_session_id bigint;
BEGIN
    SELECT * INTO v_user FROM users WHERE store_id = p_store_id AND user_id = p_user_id;
    INSERT INTO sessions (
        store_id, user_id, generation, has_totp, address, user_agent, signed_in_at, used_at,
        idle_limit, expires_at
    ) VALUES (
        p_store_id, p_user_id, v_user.token_generation, p_has_totp, p_address, p_user_agent,
        v_now, v_now, p_idle_limit, v_now + p_lifetime
    ) RETURNING session_id INTO v_session_id;
    PERFORM record_event(
        p_store_id, 'users/' || p_user_id, 'sign_in',
        jsonb_build_object(
            'login', v_user.login, 'address', p_address, 'session_id', v_session_id),
        'user:' || p_user_id);
    RETURN grant_document(p_store_id, v_session_id);
END $$;

COMMENT ON FUNCTION begin_session IS
    'Sign in a user whom the caller has locked and found to be who it is; what the token says.';
