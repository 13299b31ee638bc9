CREATE OR REPLACE FUNCTION find_due_schedules(
    p_name text, p_cron text, p_time_zone text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object(
        'store_id', s.store_id, 'found_at', rfc3339(v_now))), '[]')
    INTO document
    FROM stores AS s
    LEFT JOIN schedules AS d ON d.store_id = s.store_id AND d.name = p_name
    WHERE d.due_at IS NULL OR d.due_at <= v_now
        OR (d.cron, d.time_zone) <> (p_cron, p_time_zone);
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_due_schedules IS
    'For the worker: the stores, of all, whose schedule p_name is due, not set yet, or set to '
    'another time; found_at is the database''s. It only looks. Code: ok.';
