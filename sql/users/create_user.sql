CREATE OR REPLACE FUNCTION create_user(
    p_store_id text, p_login text, p_password_hash text, p_role text, p_is_active boolean,
    p_email text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user_id bigint;
BEGIN
    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN p_login ~ '^[!-~]{1,64}$' AND p_password_hash LIKE '$argon2id$%'
            AND p_role IN ('customer', 'staff', 'admin') THEN 'created'
        ELSE 'invalid_request' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write. One statement decides and writes, so that of two who want a login one gets it.
    PERFORM drop_lapsed_registrations(p_store_id, p_login, 1);
    PERFORM set_change_context(p_actor);
    INSERT INTO users (store_id, login, password_hash, role, is_active, email)
    VALUES (p_store_id, p_login, p_password_hash, p_role, p_is_active, p_email)
    ON CONFLICT DO NOTHING RETURNING user_id INTO v_user_id;
    PERFORM set_change_context(NULL);
    IF v_user_id IS NULL THEN
        result_code := 'login_taken';
        RETURN;
    END IF;
    document := jsonb_build_object('user_id', v_user_id, 'login', p_login);
END $$;

COMMENT ON FUNCTION create_user IS
    'Create a user of any role. The hash is argon2id''s encoded form. Codes: created, '
    'login_taken, unknown_store, invalid_request.';
