CREATE OR REPLACE FUNCTION forget_guest(
    p_store_id text, p_contact text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_count int;
BEGIN
    -- Lock. By id, as whoever erases others.
    PERFORM FROM guests
    WHERE store_id = p_store_id AND (lower(email) = lower(p_contact) OR phone = p_contact)
    ORDER BY guest_id FOR UPDATE;

    -- Check.
    GET DIAGNOSTICS v_count = ROW_COUNT;
    result_code := CASE WHEN v_count > 0 THEN 'ok' ELSE 'unknown_guest' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE guests SET name = NULL, email = NULL, phone = NULL, language = NULL, erased_at = v_now
    WHERE store_id = p_store_id AND (lower(email) = lower(p_contact) OR phone = p_contact);
    INSERT INTO audit_log (store_id, subject, action, details, actor)
    VALUES (p_store_id, 'guests', 'update', jsonb_build_object('forgotten', v_count), p_actor);
    document := jsonb_build_object('forgotten', v_count);
END $$;

COMMENT ON FUNCTION forget_guest IS
    'Erase a guest''s name, e-mail, phone and language wherever they stand, by e-mail or phone: '
    'bookings stay, without them, and mails not sent yet end as skipped. Codes: ok, '
    'unknown_guest.';
