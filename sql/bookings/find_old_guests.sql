CREATE OR REPLACE FUNCTION find_old_guests(
    p_age interval, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_age;
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT g.store_id FROM guests AS g
        JOIN bookings AS b ON b.store_id = g.store_id AND b.guest_id = g.guest_id
        WHERE g.erased_at IS NULL AND g.created_at < v_before
            AND LEAST(b.closed_at, b.ends_at) < v_before
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_old_guests IS
    'For the worker: the restaurants, of all, with guests whose bookings ended longer than p_age '
    'ago. It only looks. Code: ok.';
