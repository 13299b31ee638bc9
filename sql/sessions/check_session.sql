CREATE OR REPLACE FUNCTION check_session(
    p_store_id text, p_user_id bigint, p_generation int, p_expires_at timestamptz,
    OUT result_code text, OUT user_role text, OUT checked_at timestamptz
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    checked_at := clock_timestamp();
    SELECT role INTO user_role FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id AND is_active
        AND token_generation = p_generation AND p_expires_at > checked_at;
    result_code := CASE WHEN user_role IS NULL THEN 'unauthorized' ELSE 'ok' END;
END $$;

COMMENT ON FUNCTION check_session IS
    'Whether a token of a user, of that generation and expiry, is still taken, and what the user '
    'may do now. Codes: ok, unauthorized.';
