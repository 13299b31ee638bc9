CREATE OR REPLACE FUNCTION find_work(
    p_channels text[], p_schedule text, p_cron text, p_time_zone text, p_keep interval
) RETURNS TABLE (
    result_code text, store_id text, checked_at timestamptz, due_channels text[],
    has_lapsed boolean, is_schedule_due boolean, has_old boolean
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT 'ok', found.* FROM (
        SELECT s.store_id, v_now,
            ARRAY(
                SELECT c.channel FROM unnest(p_channels) AS c (channel)
                WHERE EXISTS (
                    SELECT FROM outbox AS o
                    WHERE o.store_id = s.store_id AND o.channel = c.channel
                        AND o.due_at <= v_now AND o.delivered_at IS NULL AND o.dead_at IS NULL
                )
            ) AS due_channels,
            EXISTS (
                SELECT FROM reservations AS r
                WHERE r.store_id = s.store_id AND r.status = 'held' AND r.expires_at <= v_now
            ) AS has_lapsed,
            p_schedule IS NOT NULL AND NOT EXISTS (
                SELECT FROM schedules AS d
                WHERE d.store_id = s.store_id AND d.name = p_schedule AND d.due_at > v_now
                    AND d.cron = p_cron AND d.time_zone = p_time_zone
            ) AS is_schedule_due,
            EXISTS (
                SELECT FROM outbox AS o
                WHERE o.store_id = s.store_id AND o.delivered_at < v_now - p_keep
            ) OR EXISTS (
                SELECT FROM idempotency_keys AS k
                WHERE k.store_id = s.store_id AND k.created_at <= v_now - interval '30 days'
            ) AS has_old
        FROM stores AS s
    ) AS found
    WHERE due_channels <> '{}' OR has_lapsed OR is_schedule_due OR has_old
    ORDER BY store_id;
END $$;

COMMENT ON FUNCTION find_work IS
    'Which stores have something for the worker at checked_at, the database''s time: messages of '
    'p_channels that are due, holds that have lapsed, the schedule p_schedule (null: none) due, '
    'not set yet, or set otherwise, messages delivered longer than p_keep ago, and answers kept '
    'for 30 days. It only looks, at all stores: what it finds is done store by store.';
