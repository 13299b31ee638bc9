CREATE OR REPLACE FUNCTION forget_guest(
    p_store_id text, p_contact text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_digits text := phone_digits(p_contact);
    v_ids bigint[];
BEGIN
    -- Lock. By id, as whoever erases others.
    v_ids := ARRAY(
        SELECT guest_id FROM guests
        WHERE store_id = p_store_id
            AND (lower(email) = lower(p_contact) OR phone_digits = v_digits)
        ORDER BY guest_id FOR UPDATE
    );

    -- Check.
    result_code := CASE WHEN v_ids <> '{}' THEN 'ok' ELSE 'unknown_guest' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE guests SET name = NULL, email = NULL, phone = NULL, language = NULL, erased_at = v_now
    WHERE store_id = p_store_id AND guest_id = ANY (v_ids);
    document := jsonb_build_object('forgotten', cardinality(v_ids));
    INSERT INTO audit_log (store_id, subject, action, details, actor)
    VALUES (p_store_id, 'guests', 'update', document, p_actor);
END $$;

COMMENT ON FUNCTION forget_guest IS
    'Erase a guest''s name, e-mail, phone and language wherever they stand, by e-mail in any '
    'letter case or phone however written: bookings stay, without them, and mails not sent yet end '
    'as skipped. Codes: ok, unknown_guest.';
