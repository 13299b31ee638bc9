CREATE OR REPLACE FUNCTION find_backlogs(
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object(
        'channel', c.channel, 'waiting', c.waiting, 'dead', c.dead, 'lag', c.lag)), '[]')
    INTO document FROM (
        SELECT
            o.channel,
            count(*) FILTER (WHERE o.is_waiting) AS waiting,
            count(*) FILTER (WHERE o.dead_at IS NOT NULL) AS dead,
            COALESCE(max(extract(epoch FROM v_now - o.due_at)) FILTER (
                WHERE o.is_waiting AND o.due_at <= v_now), 0) AS lag
        FROM outbox AS o WHERE o.is_waiting OR o.dead_at IS NOT NULL GROUP BY o.channel
    ) AS c;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_backlogs IS
    'For monitoring, of all stores: how many messages of each channel wait, and are dead letters, '
    'and for how many seconds the longest that is due has been (lag). It only looks. Code: ok.';
