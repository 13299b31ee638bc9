CREATE OR REPLACE FUNCTION create_first_admin(
    p_store_id text, p_login text, p_password_hash text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock. Of two services that start together one makes the admin.
    PERFORM FROM stores WHERE store_id = p_store_id FOR NO KEY UPDATE;

    -- Check.
    IF EXISTS (SELECT FROM users WHERE store_id = p_store_id AND role = 'admin') THEN
        result_code := 'already_exists';
        RETURN;
    END IF;

    -- Write.
    SELECT u.result_code, u.document INTO result_code, document
    FROM create_user(p_store_id, p_login, p_password_hash, 'admin', true, NULL, NULL) AS u;
END $$;

COMMENT ON FUNCTION create_first_admin IS
    'Create the admin of a store that has none yet, ready to sign in. Codes: created, '
    'already_exists (an admin), login_taken (by somebody who is none), unknown_store, '
    'invalid_request.';
