CREATE OR REPLACE FUNCTION read_backlogs(
    p_store_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT COALESCE(jsonb_agg(jsonb_build_object(
        'channel', c.channel, 'waiting', c.waiting, 'dead', c.dead, 'lag', c.lag)
        ORDER BY c.channel), '[]')
    INTO document FROM (
        SELECT
            o.channel,
            count(*) FILTER (WHERE o.is_waiting) AS waiting,
            count(*) FILTER (WHERE o.dead_at IS NOT NULL) AS dead,
            COALESCE(max(extract(epoch FROM v_now - o.due_at)) FILTER (
                WHERE o.is_waiting AND o.due_at <= v_now), 0) AS lag
        FROM outbox AS o
        WHERE o.store_id = p_store_id AND (o.is_waiting OR o.dead_at IS NOT NULL)
        GROUP BY o.channel
    ) AS c;
END $$;

COMMENT ON FUNCTION read_backlogs IS
    'How many messages of each channel wait in a store and were given up, and for how many seconds '
    'the longest that is due has been (lag). Codes: ok, unknown_store.';
