CREATE OR REPLACE FUNCTION keep_schedule(
    p_store_id text, p_name text, p_cron text, p_time_zone text,
    p_channel text, p_payload jsonb, p_due_at timestamptz,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_due_at timestamptz;
BEGIN
    -- One statement decides and writes, so that two workers that start together both succeed.
    INSERT INTO schedules AS s (store_id, name, cron, time_zone, channel, payload, due_at)
    VALUES (p_store_id, p_name, p_cron, p_time_zone, p_channel, p_payload, p_due_at)
    ON CONFLICT (store_id, name) DO UPDATE SET
        cron = excluded.cron, time_zone = excluded.time_zone,
        channel = excluded.channel, payload = excluded.payload, due_at = excluded.due_at
    WHERE (s.cron, s.time_zone, s.channel, s.payload)
        IS DISTINCT FROM (excluded.cron, excluded.time_zone, excluded.channel, excluded.payload);
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'already_exists' END;
    SELECT due_at INTO v_due_at FROM schedules WHERE store_id = p_store_id AND name = p_name;
    document := jsonb_build_object('due_at', rfc3339(v_due_at));
END $$;

COMMENT ON FUNCTION keep_schedule IS
    'Have a store send a message at the times of a cron, the first time at p_due_at. document: '
    'when it is due now. Codes: ok, already_exists (as it is, and due when it was).';
