CREATE OR REPLACE FUNCTION find_lapsed_bookings(OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT b.store_id FROM bookings AS b
        WHERE b.status = 'pending' AND b.starts_at < v_now
            AND booking_state(b.status, b.starts_at, b.ends_at, v_now) = 'declined'
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_lapsed_bookings IS
    'For the worker: the restaurants, of all, with bookings that nobody answered in time. It only '
    'looks. Code: ok.';
