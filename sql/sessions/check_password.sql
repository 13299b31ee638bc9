CREATE OR REPLACE FUNCTION check_password(
    p_store_id text, p_login text, p_user_id bigint, p_known_hash text, p_is_right boolean,
    p_address text, p_totp_roles text[], OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_user users;
BEGIN
    -- Check.
    SELECT * INTO v_user FROM users
    WHERE store_id = p_store_id AND user_id = p_user_id AND password_hash = p_known_hash
        AND is_active AND p_is_right;
    result_code := CASE
        WHEN v_user.user_id IS NULL THEN 'wrong_credentials'
        WHEN EXISTS (SELECT FROM user_totp WHERE store_id = p_store_id AND user_id = p_user_id
            AND confirmed_at IS NOT NULL) THEN 'otp_required'
        ELSE 'ok' END;

    -- Write what the try has come to; a session is not begun.
    PERFORM settle_try(p_store_id, p_login, p_user_id, p_address, result_code);
    IF result_code = 'ok' THEN
        document := jsonb_build_object(
            'user_id', v_user.user_id, 'login', v_user.login, 'role', v_user.role,
            'lacks_totp', v_user.role = ANY (p_totp_roles));
    END IF;
END $$;

COMMENT ON FUNCTION check_password IS
    'Who shows login and password with a request (HTTP Basic), after start_sign_in has counted '
    'the try and the password was compared with p_known_hash; lacks_totp where the role needs a '
    'one-time password. Codes: ok, wrong_credentials, otp_required (there is no room for the '
    'code in such a request).';
