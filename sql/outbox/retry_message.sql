CREATE OR REPLACE FUNCTION retry_message(
    p_store_id text, p_message_id bigint, p_attempt int, p_error text, p_wait interval,
    OUT result_code text, OUT due_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
    v_pause interval;
BEGIN
    -- Lock. Check.
    result_code := lock_message(p_store_id, p_message_id, p_attempt);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. 5 s, 10 s, 20 s … an hour, each a quarter more or less, so that what failed together
    -- does not come back together.
    v_pause := LEAST(interval '5 s' * 2 ^ LEAST(p_attempt - 1, 20), interval '1 h')
        * (0.75 + random() / 2);
    UPDATE outbox AS o SET
        last_error = p_error,
        due_at = v_now + GREATEST(v_pause, p_wait),
        dead_at = CASE WHEN o.attempts >= o.max_attempts THEN v_now END
    WHERE o.store_id = p_store_id AND o.message_id = p_message_id
    RETURNING CASE WHEN o.dead_at IS NULL THEN o.due_at END INTO due_at;
END $$;

COMMENT ON FUNCTION retry_message IS
    'Have a message that could not be delivered tried again, ever later, and not before p_wait '
    '(null: no such wish) is over; after its last attempt give it up. due_at: when, or null if '
    'never. Codes: ok, already_delivered, lease_lost, unknown_message.';
