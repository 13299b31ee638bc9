CREATE OR REPLACE FUNCTION register_user(
    p_store_id text, p_login text, p_password_hash text, p_token_hash bytea, p_lifetime interval,
    p_actor text, OUT result_code text, OUT new_user_id bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT u.result_code, u.new_user_id INTO result_code, new_user_id
    FROM create_user(p_store_id, p_login, p_password_hash, 'customer', false, p_actor) AS u;
    IF result_code <> 'ok' THEN RETURN; END IF;

    INSERT INTO user_links (store_id, token_hash, user_id, purpose, expires_at)
    VALUES (p_store_id, p_token_hash, new_user_id, 'activation', clock_timestamp() + p_lifetime);
END $$;

COMMENT ON FUNCTION register_user IS
    'Create a customer, who cannot sign in before the link was followed whose token has this '
    'SHA-256 hash. Codes: ok, login_taken, unknown_store, invalid_request.';
