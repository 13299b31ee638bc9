CREATE OR REPLACE FUNCTION close_booking(
    p_booking bookings, p_status text, p_now timestamptz, p_actor text, p_reason text DEFAULT NULL
) RETURNS bookings LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking bookings;
BEGIN
    UPDATE bookings SET status = p_status, reason = p_reason, version = version + 1,
        closed_at = p_now, closed_by = p_actor
    WHERE store_id = p_booking.store_id AND booking_id = p_booking.booking_id
    RETURNING * INTO v_booking;
    RETURN v_booking;
END $$;

COMMENT ON FUNCTION close_booking IS 'End a locked booking; its times stay as they were.';
