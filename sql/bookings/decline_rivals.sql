CREATE OR REPLACE FUNCTION decline_rivals(p_booking bookings, p_now timestamptz, p_actor text)
RETURNS int LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_rival bookings;
    v_count int := 0;
BEGIN
    -- By id. Their table is locked, so nobody else takes two of them at once.
    FOR v_rival IN
        SELECT * FROM bookings
        WHERE store_id = p_booking.store_id AND table_id = p_booking.table_id
            AND status = 'pending' AND during && p_booking.during
            AND booking_state(status, starts_at, ends_at, p_now) = 'pending'
        ORDER BY booking_id FOR UPDATE
    LOOP
        v_rival := close_booking(v_rival, 'declined', p_now, p_actor, 'rival');
        PERFORM tell_booking(
            v_rival, 'booking.declined', '{"guest": "declined"}', '{"by": "staff"}');
        v_count := v_count + 1;
    END LOOP;
    RETURN v_count;
END $$;

COMMENT ON FUNCTION decline_rivals IS
    'Decline the pending bookings that overlap one that was confirmed; how many there were.';
