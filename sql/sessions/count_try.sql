CREATE OR REPLACE FUNCTION count_try(
    p_store_id text, p_subject text, p_most int, p_window interval,
    OUT tries int, OUT retry_after int
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_ends_at timestamptz;
BEGIN
    INSERT INTO sign_in_attempts AS a (store_id, subject, attempts, ends_at)
    VALUES (p_store_id, p_subject, 1, v_now + p_window)
    ON CONFLICT (store_id, subject) DO UPDATE SET
        attempts = CASE WHEN a.ends_at > v_now THEN LEAST(a.attempts, p_most) + 1 ELSE 1 END,
        is_recorded = a.is_recorded AND a.ends_at > v_now,
        ends_at = CASE WHEN a.ends_at > v_now THEN a.ends_at ELSE EXCLUDED.ends_at END
    RETURNING a.attempts, a.ends_at INTO tries, v_ends_at;

    -- Who begins to count clears away some of what nobody counts any more.
    IF tries = 1 THEN
        DELETE FROM sign_in_attempts AS a USING (
            SELECT subject FROM sign_in_attempts
            WHERE store_id = p_store_id AND ends_at < v_now
            ORDER BY ends_at LIMIT 10 FOR UPDATE SKIP LOCKED
        ) AS lapsed
        WHERE a.store_id = p_store_id AND a.subject = lapsed.subject;
    END IF;

    retry_after := CASE WHEN tries <= p_most THEN 0
        ELSE GREATEST(1, ceil(extract(epoch FROM v_ends_at - v_now))::int) END;
END $$;

COMMENT ON FUNCTION count_try IS
    'Count a try, with a lock on the count until the transaction ends: how many there were in '
    'this window, up to p_most + 1, and how many seconds to wait, 0 for the first p_most.';
