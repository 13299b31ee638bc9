CREATE OR REPLACE FUNCTION read_booking(
    p_store_id text, p_booking_id bigint, p_user_id bigint,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT booking_document(b, v_now) || jsonb_build_object(
        'name', g.name, 'email', g.email, 'phone', g.phone, 'user_id', b.user_id)
    INTO document
    FROM bookings AS b
    JOIN guests AS g ON g.store_id = b.store_id AND g.guest_id = b.guest_id
    WHERE b.store_id = p_store_id AND b.booking_id = p_booking_id
        AND (p_user_id IS NULL OR b.user_id = p_user_id);
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unknown_booking' END;
END $$;

COMMENT ON FUNCTION read_booking IS
    'A booking with its guest. p_user_id: only this user''s own; null: anybody''s. Codes: ok, '
    'unknown_booking.';
