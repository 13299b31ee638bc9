CREATE OR REPLACE FUNCTION create_totp(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_secret text, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_login text;
    v_is_recent boolean;
BEGIN
    -- Lock.
    SELECT login INTO v_login FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id FOR NO KEY UPDATE;

    -- Check.
    v_is_recent := is_recent_session(p_store_id, p_user_id, p_session_id);
    result_code := CASE
        WHEN NOT v_is_recent THEN 'sign_in_again'
        WHEN EXISTS (
            SELECT FROM user_totp
            WHERE store_id = p_store_id AND user_id = p_user_id AND confirmed_at IS NOT NULL
        ) THEN 'totp_active'
        ELSE 'created' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write. Until it is confirmed, another takes its place.
    PERFORM set_change_context(p_actor);
    INSERT INTO user_totp (store_id, user_id, secret) VALUES (p_store_id, p_user_id, p_secret)
    ON CONFLICT (store_id, user_id) DO UPDATE SET secret = EXCLUDED.secret, created_at = v_now;
    PERFORM set_change_context(NULL);
    document := jsonb_build_object('login', v_login);
END $$;

COMMENT ON FUNCTION create_totp IS
    'Give a user who signed in within 15 minutes the secret of an authenticator, which signing in '
    'needs once confirm_totp was called. Codes: created, sign_in_again, totp_active.';
