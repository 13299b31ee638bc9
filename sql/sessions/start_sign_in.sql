CREATE OR REPLACE FUNCTION start_sign_in(
    p_store_id text, p_login text, p_address text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_window CONSTANT interval := interval '15 minutes';
    v_login text := 'login ' || lower(p_login);
    v_wait int;
    v_tries int;
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    -- Lock and count: first the address, so that one that is turned away spoils no login.
    SELECT c.retry_after INTO v_wait
    FROM count_try(p_store_id, 'address ' || p_address, 100, v_window) AS c;
    IF v_wait = 0 THEN
        SELECT c.retry_after INTO v_wait
        FROM count_try(p_store_id, v_login || ' at ' || p_address, 10, v_window) AS c;
    END IF;
    IF v_wait > 0 THEN
        result_code := 'too_many_requests';
        document := jsonb_build_object('retry_after', v_wait);
        RETURN;
    END IF;

    -- The login alone only slows down: strangers, however many, cannot keep its owner out.
    SELECT c.tries INTO v_tries FROM count_try(p_store_id, v_login, 1000, v_window) AS c;

    -- What must be compared takes time, which the caller spends without our locks.
    SELECT jsonb_build_object(
        'user_id', u.user_id, 'known_hash', u.password_hash, 'totp_secret', t.secret)
    INTO document
    FROM users AS u LEFT JOIN user_totp AS t
        ON t.store_id = u.store_id AND t.user_id = u.user_id AND t.confirmed_at IS NOT NULL
    WHERE u.store_id = p_store_id AND lower(u.login) = lower(p_login);
    document := COALESCE(document, '{}') || jsonb_build_object(
        'now', floor(extract(epoch FROM clock_timestamp()))::bigint,
        'delay_seconds', (v_tries - 1) / 100);
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION start_sign_in IS
    'Count a try to sign in as a login, known or not, and give what its password is compared '
    'with. Within 15 minutes 10 wrong passwords are let in for a login at an address, 100 for an '
    'address; 100 for a login, from wherever, delay what follows by a second, 200 by two, up to '
    'ten. Codes: ok (without user_id: unknown), too_many_requests (with the seconds to wait), '
    'unknown_store.';
