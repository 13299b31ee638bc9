CREATE OR REPLACE FUNCTION set_user_active(
    p_store_id text, p_user_id bigint, p_is_active boolean, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_is_active boolean;
BEGIN
    -- Lock.
    SELECT is_active INTO v_is_active FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id FOR UPDATE;

    -- Check.
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unknown_user' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Who is disabled has no way back but by an admin: tokens and links are void.
    IF NOT p_is_active THEN
        DELETE FROM user_links
        WHERE store_id = p_store_id AND user_id = p_user_id AND used_at IS NULL;
    END IF;
    IF v_is_active <> p_is_active THEN
        PERFORM set_change_context(p_actor);
        UPDATE users SET is_active = p_is_active,
            token_generation = token_generation + CASE WHEN p_is_active THEN 0 ELSE 1 END
        WHERE store_id = p_store_id AND user_id = p_user_id;
        PERFORM set_change_context(NULL);
    END IF;
    document := user_document(p_store_id, p_user_id);
END $$;

COMMENT ON FUNCTION set_user_active IS
    'Let a user sign in, or no longer: tokens of one who is disabled stop at once. Codes: ok, '
    'unknown_user.';
