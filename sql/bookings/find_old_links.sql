CREATE OR REPLACE FUNCTION find_old_links(p_age interval, OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_age;
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT l.store_id FROM booking_links AS l
        JOIN bookings AS b ON b.store_id = l.store_id AND b.booking_id = l.booking_id
        WHERE l.created_at < v_before AND LEAST(b.closed_at, b.ends_at) < v_before
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_old_links IS
    'For the worker: the restaurants, of all, with links of bookings that ended longer than p_age '
    'ago. It only looks. Code: ok.';
