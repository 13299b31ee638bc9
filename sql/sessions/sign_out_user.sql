CREATE OR REPLACE FUNCTION sign_out_user(
    p_store_id text, p_user_id bigint, p_address text, p_actor text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_login text;
BEGIN
    -- Lock.
    SELECT login INTO v_login FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id FOR NO KEY UPDATE;

    -- Check.
    result_code := CASE WHEN v_login IS NULL THEN 'unknown_user' ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    UPDATE users SET token_generation = token_generation + 1
    WHERE store_id = p_store_id AND user_id = p_user_id;
    PERFORM set_change_context(NULL);
    PERFORM record_event(
        p_store_id, 'users/' || p_user_id, 'sign_out',
        jsonb_build_object('login', v_login, 'address', p_address), p_actor);
END $$;

COMMENT ON FUNCTION sign_out_user IS
    'No session that a user has by now goes on. Codes: ok, unknown_user.';
