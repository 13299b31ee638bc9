CREATE OR REPLACE FUNCTION begin_sign_in(
    p_store_id text, p_login text, p_address text,
    OUT result_code text, OUT retry_after int, OUT known_user_id bigint, OUT known_hash text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_window CONSTANT interval := interval '15 minutes';
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    -- Lock and count: first the address, so that one that is turned away spoils nobody's login.
    retry_after := count_attempt(p_store_id, 'address ' || p_address, 100, v_window);
    IF retry_after = 0 THEN
        retry_after := count_attempt(p_store_id, 'login ' || lower(p_login), 10, v_window);
    END IF;

    -- Check. What must be compared takes time, which the caller spends without our locks.
    result_code := CASE WHEN retry_after = 0 THEN 'ok' ELSE 'too_many_requests' END;
    SELECT user_id, password_hash INTO known_user_id, known_hash FROM users
    WHERE store_id = p_store_id AND lower(login) = lower(p_login) AND retry_after = 0;
END $$;

COMMENT ON FUNCTION begin_sign_in IS
    'Count a try to sign in as a login, known or not, and give what its password is compared '
    'with. Within 15 minutes 10 tries without success are let in for a login, 100 for an address. '
    'Codes: ok (the user may be null: unknown), too_many_requests (with the seconds to wait), '
    'unknown_store.';
