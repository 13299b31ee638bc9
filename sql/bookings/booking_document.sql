CREATE OR REPLACE FUNCTION booking_document(p_booking bookings, p_now timestamptz)
RETURNS jsonb LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_status text := booking_state(
        p_booking.status, p_booking.starts_at, p_booking.ends_at, p_now);
BEGIN
    RETURN jsonb_build_object(
        'booking_id', p_booking.booking_id,
        'status', v_status,
        'table_id', p_booking.table_id,
        'starts_at', rfc3339(p_booking.starts_at),
        'ends_at', rfc3339(p_booking.ends_at),
        'guests', p_booking.guests,
        'price_at_booking', p_booking.price_at_booking,
        'version', p_booking.version,
        'reason', CASE WHEN v_status = 'declined' THEN COALESCE(p_booking.reason, 'lapsed') END,
        'created_at', rfc3339(p_booking.created_at));
END $$;

COMMENT ON FUNCTION booking_document IS
    'A booking as callers see it, without the guest''s name and contacts: answers and events that '
    'are kept hold none.';
