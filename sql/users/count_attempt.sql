CREATE OR REPLACE FUNCTION count_attempt(
    p_store_id text, p_subject text, p_limit int, p_window interval
) RETURNS int
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_counted sign_in_attempts;
BEGIN
    INSERT INTO sign_in_attempts AS a (store_id, subject, attempts, ends_at)
    VALUES (p_store_id, p_subject, 1, clock_timestamp() + p_window)
    ON CONFLICT (store_id, subject) DO UPDATE SET
        attempts = CASE WHEN a.ends_at > EXCLUDED.ends_at - p_window
            THEN LEAST(a.attempts, p_limit) + 1 ELSE 1 END,
        ends_at = CASE WHEN a.ends_at > EXCLUDED.ends_at - p_window
            THEN a.ends_at ELSE EXCLUDED.ends_at END
    RETURNING * INTO v_counted;

    -- Who begins to count clears away some of what nobody counts any more.
    IF v_counted.attempts = 1 THEN
        DELETE FROM sign_in_attempts AS a USING (
            SELECT subject FROM sign_in_attempts
            WHERE store_id = p_store_id AND ends_at < clock_timestamp()
            ORDER BY ends_at LIMIT 10 FOR UPDATE SKIP LOCKED
        ) AS lapsed
        WHERE a.store_id = p_store_id AND a.subject = lapsed.subject;
    END IF;

    RETURN CASE WHEN v_counted.attempts <= p_limit THEN 0
        ELSE GREATEST(1, ceil(extract(epoch FROM v_counted.ends_at - clock_timestamp()))::int)
    END;
END $$;

COMMENT ON FUNCTION count_attempt IS
    'Count a try of a password, with a lock on the count until the transaction ends, and say how '
    'many seconds to wait: 0 for the first p_limit tries of a window.';
