CREATE OR REPLACE FUNCTION lapse_bookings(
    p_store_id text, p_limit int DEFAULT 1000, OUT result_code text, OUT lapsed_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_booking bookings;
BEGIN
    lapsed_count := 0;
    FOR v_booking IN
        SELECT * FROM bookings
        WHERE store_id = p_store_id AND status = 'pending'
            AND booking_state(status, starts_at, ends_at, v_now) = 'declined'
        ORDER BY booking_id LIMIT p_limit FOR UPDATE SKIP LOCKED
    LOOP
        v_booking := close_booking(v_booking, 'declined', v_now, 'system:worker', 'lapsed');
        PERFORM tell_booking(v_booking, 'booking.declined', '{}', '{}');
        lapsed_count := lapsed_count + 1;
    END LOOP;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION lapse_bookings IS
    'Bookkeeping: write down that up to p_limit pending bookings were never answered and their '
    'time is over, and tell webhooks; the guest of a visit that is past gets no mail. Codes: ok.';
