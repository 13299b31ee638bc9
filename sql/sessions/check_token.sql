CREATE OR REPLACE FUNCTION check_token(
    p_store_id text, p_user_id bigint, p_session_id bigint, p_token_number int,
    p_expires_at timestamptz, p_totp_roles text[], OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT jsonb_build_object(
        'login', s.login, 'role', s.role,
        'lacks_totp', s.role = ANY (p_totp_roles) AND NOT s.has_totp,
        'is_stale', s.used_at < v_now - s.idle_limit / 60)
    INTO document
    FROM open_sessions AS s
    WHERE s.store_id = p_store_id AND s.session_id = p_session_id AND s.user_id = p_user_id
        AND p_expires_at > v_now
        AND (s.token_number = p_token_number
            OR s.token_number = p_token_number + 1 AND s.previous_until > v_now);
    result_code := CASE WHEN document IS NULL THEN 'unauthorized' ELSE 'ok' END;
END $$;

COMMENT ON FUNCTION check_token IS
    'Whether a user''s token is still taken, and what the user may do now; lacks_totp where the '
    'role needs a one-time password that was not given, is_stale where touch_session has '
    'something to write. Codes: ok, unauthorized.';
