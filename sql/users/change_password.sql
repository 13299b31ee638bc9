CREATE OR REPLACE FUNCTION change_password(
    p_store_id text, p_user_id bigint, p_address text, p_known_hash text, p_is_right boolean,
    p_new_hash text, p_actor text,
    OUT result_code text, OUT user_role text, OUT generation int, OUT signed_in_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock.
    PERFORM FROM users WHERE store_id = p_store_id AND user_id = p_user_id FOR UPDATE;

    -- Check. As for signing in.
    SELECT f.* INTO result_code, user_role, generation, signed_in_at
    FROM finish_sign_in(p_store_id, p_user_id, p_address, p_known_hash, p_is_right) AS f;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_password(p_store_id, p_user_id, p_new_hash, p_actor);
    generation := generation + 1;
END $$;

COMMENT ON FUNCTION change_password IS
    'Change the password of a user who told the old one, and sign in anew: every token until now '
    'is void. Codes: ok, wrong_credentials.';
