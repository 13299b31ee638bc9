CREATE OR REPLACE FUNCTION read_totp(
    p_store_id text, p_user_id bigint, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT jsonb_build_object(
        'secret', secret, 'now', floor(extract(epoch FROM clock_timestamp()))::bigint)
    INTO document
    FROM user_totp WHERE store_id = p_store_id AND user_id = p_user_id;
    result_code := CASE WHEN document IS NULL THEN 'unknown_totp' ELSE 'ok' END;
END $$;

COMMENT ON FUNCTION read_totp IS
    'The secret that a user''s codes are compared with, and the time that they are of. Codes: ok, '
    'unknown_totp.';
