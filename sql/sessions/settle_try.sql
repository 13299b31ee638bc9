CREATE OR REPLACE FUNCTION settle_try(
    p_store_id text, p_login text, p_user_id bigint, p_address text, p_outcome text
) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_login text := 'login ' || lower(p_login);
    v_pair text := v_login || ' at ' || p_address;
BEGIN
    IF p_outcome NOT IN ('ok', 'otp_required') THEN
        -- One row for each window: nobody can fill the log by guessing.
        UPDATE sign_in_attempts SET is_recorded = true
        WHERE store_id = p_store_id AND subject = v_pair AND NOT is_recorded;
        IF FOUND THEN
            PERFORM record_event(
                p_store_id, COALESCE('users/' || p_user_id, 'logins/' || lower(p_login)),
                'sign_in_refused',
                jsonb_build_object('login', p_login, 'address', p_address),
                'address ' || p_address);
        END IF;
        RETURN;
    END IF;

    -- In the order of start_sign_in. What was right is not counted; the address and the login get
    -- no more back than this try, or a guesser would need but one password that is right.
    UPDATE sign_in_attempts SET attempts = attempts - 1
    WHERE store_id = p_store_id AND subject = 'address ' || p_address AND attempts > 0;
    UPDATE sign_in_attempts SET attempts = CASE p_outcome WHEN 'ok' THEN 0 ELSE attempts - 1 END
    WHERE store_id = p_store_id AND subject = v_pair AND attempts > 0;
    UPDATE sign_in_attempts SET attempts = attempts - 1
    WHERE store_id = p_store_id AND subject = v_login AND attempts > 0;
    IF p_outcome = 'ok' THEN
        UPDATE sign_in_attempts SET attempts = 0
        WHERE store_id = p_store_id AND subject = 'code ' || lower(p_login);
    END IF;
END $$;

COMMENT ON FUNCTION settle_try IS
    'What a try that start_sign_in counted has come to: a right password is not counted, and '
    'forgives its login at its address; a refusal is written to audit_log.';
