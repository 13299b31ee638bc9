CREATE OR REPLACE FUNCTION finish_sign_in(
    p_store_id text, p_user_id bigint, p_address text, p_known_hash text, p_is_right boolean,
    OUT result_code text, OUT user_role text, OUT generation int, OUT signed_in_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user users;
BEGIN
    -- Check. No lock: the token of a user who is disabled meanwhile is of an old generation.
    SELECT * INTO v_user FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id AND password_hash = p_known_hash
        AND is_active AND p_is_right;
    IF v_user.user_id IS NULL THEN
        result_code := 'wrong_credentials';
        RETURN;
    END IF;

    -- Write.
    PERFORM forgive_attempts(p_store_id, v_user.login, p_address);
    result_code := 'ok';
    user_role := v_user.role;
    generation := v_user.token_generation;
    signed_in_at := clock_timestamp();
END $$;

COMMENT ON FUNCTION finish_sign_in IS
    'Sign a user in whose password, compared with p_known_hash, was right. Codes: ok, '
    'wrong_credentials (also unknown, not activated, disabled, or changed meanwhile).';
