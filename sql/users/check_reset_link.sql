CREATE OR REPLACE FUNCTION check_reset_link(
    p_store_id text, p_token_hash bytea, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT jsonb_build_object('login', u.login, 'known_hash', u.password_hash) INTO document
    FROM user_links AS l
    JOIN users AS u ON u.store_id = l.store_id AND u.user_id = l.user_id
    WHERE l.store_id = p_store_id AND l.token_hash = p_token_hash AND l.purpose = 'reset'
        AND l.used_at IS NULL AND l.expires_at > clock_timestamp();
    result_code := CASE WHEN document IS NULL THEN 'unknown_link' ELSE 'ok' END;
END $$;

COMMENT ON FUNCTION check_reset_link IS
    'Whether a link may set a password, before one is hashed for it, and what the new one must '
    'differ from. Codes: ok, unknown_link.';
