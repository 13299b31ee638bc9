CREATE OR REPLACE FUNCTION set_user_active(
    p_store_id text, p_user_id bigint, p_is_active boolean, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user users;
    v_admins bigint[];
BEGIN
    -- Lock. The admins, too, in order: two who disable each other are judged one by one.
    v_admins := ARRAY(
        SELECT user_id FROM users
        WHERE store_id = p_store_id AND role = 'admin' AND is_active AND NOT p_is_active
        ORDER BY user_id FOR NO KEY UPDATE
    );
    SELECT * INTO v_user FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id FOR UPDATE;

    -- Check.
    result_code := CASE
        WHEN v_user.user_id IS NULL THEN 'unknown_user'
        WHEN v_admins = ARRAY[p_user_id] THEN 'last_admin'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Who is disabled has no way back but by an admin: sessions and links are void.
    IF NOT p_is_active THEN
        DELETE FROM user_links
        WHERE store_id = p_store_id AND user_id = p_user_id AND used_at IS NULL;
    END IF;
    IF v_user.is_active <> p_is_active THEN
        PERFORM set_change_context(p_actor);
        UPDATE users SET is_active = p_is_active,
            token_generation = token_generation + CASE WHEN p_is_active THEN 0 ELSE 1 END
        WHERE store_id = p_store_id AND user_id = p_user_id;
        PERFORM set_change_context(NULL);
    END IF;
    document := user_documents(p_store_id, ARRAY[p_user_id]) -> 0;
END $$;

COMMENT ON FUNCTION set_user_active IS
    'Let a user sign in, or no longer: sessions of one who is disabled end at once. Codes: ok, '
    'last_admin (nobody could let anybody in again), unknown_user.';
