CREATE OR REPLACE FUNCTION remove_totp(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_actor text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user_id bigint;
    v_is_recent boolean;
BEGIN
    -- Lock.
    SELECT user_id INTO v_user_id FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id FOR NO KEY UPDATE;

    -- Check. An admin or operator, who brings no session of the user's, helps who lost the phone.
    v_is_recent :=
        p_session_id IS NULL OR is_recent_session(p_store_id, p_user_id, p_session_id);
    result_code := CASE
        WHEN v_user_id IS NULL THEN 'unknown_user'
        WHEN NOT v_is_recent THEN 'sign_in_again'
        WHEN NOT EXISTS (
            SELECT FROM user_totp WHERE store_id = p_store_id AND user_id = p_user_id
        ) THEN 'unknown_totp'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    DELETE FROM user_totp WHERE store_id = p_store_id AND user_id = p_user_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION remove_totp IS
    'A user signs in by the password alone again. Codes: ok, sign_in_again (the user''s own '
    'session is older than 15 minutes), unknown_totp, unknown_user.';
