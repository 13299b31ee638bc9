CREATE OR REPLACE FUNCTION refuse_booking(
    p_booking bookings, p_now timestamptz, p_expected text[], p_reached text, p_replay text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_state text := booking_state(
        p_booking.status, p_booking.starts_at, p_booking.ends_at, p_now);
BEGIN
    result_code := CASE
        WHEN p_booking.booking_id IS NULL THEN 'unknown_booking'
        WHEN v_state = p_reached THEN p_replay
        WHEN v_state = ANY (p_expected) THEN 'ok'
        WHEN v_state IN ('declined', 'cancelled', 'finished', 'no_show') THEN 'booking_closed'
        ELSE 'wrong_state' END;
    document := CASE
        WHEN v_state = p_reached THEN booking_document(p_booking, p_now)
        WHEN v_state = ANY (p_expected) OR v_state IS NULL THEN '{}'
        ELSE jsonb_build_object('booking_status', v_state) END;
END $$;

COMMENT ON FUNCTION refuse_booking IS
    'Whether a verb may be done in the state a booking is in: ok in one of p_expected, p_replay '
    'where p_reached is reached, else booking_closed where it has ended, or wrong_state, with the '
    'state. Codes: ok, booking_closed, wrong_state, unknown_booking.';
