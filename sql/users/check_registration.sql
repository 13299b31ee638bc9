CREATE OR REPLACE FUNCTION check_registration(
    p_store_id text, p_login text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM drop_lapsed_registrations(p_store_id, p_login, 1);
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN EXISTS (
            SELECT FROM users WHERE store_id = p_store_id AND lower(login) = lower(p_login)
        ) THEN 'login_taken'
        ELSE 'ok' END;
END $$;

COMMENT ON FUNCTION check_registration IS
    'Whether a login is free, before a password is hashed for it. Codes: ok, login_taken, '
    'unknown_store.';
