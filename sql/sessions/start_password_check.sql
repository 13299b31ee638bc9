CREATE OR REPLACE FUNCTION start_password_check(
    p_store_id text, p_user_id bigint, p_address text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_login text;
BEGIN
    SELECT login INTO v_login FROM users WHERE store_id = p_store_id AND user_id = p_user_id;
    IF v_login IS NULL THEN
        result_code := 'unauthorized';
        RETURN;
    END IF;
    SELECT s.result_code, s.document INTO result_code, document
    FROM start_sign_in(p_store_id, v_login, p_address) AS s;
END $$;

COMMENT ON FUNCTION start_password_check IS
    'As start_sign_in, of a user who is signed in and tells the password again. Codes: ok, '
    'too_many_requests, unauthorized (there is no such user any more), unknown_store.';
