CREATE OR REPLACE FUNCTION take_messages(
    p_store_id text, p_channel text, p_limit int, p_lease interval
) RETURNS TABLE (
    result_code text, message_id bigint, attempt int, payload jsonb, created_at timestamptz
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- What another worker is just taking is left to it.
    RETURN QUERY
    WITH due AS (
        SELECT message_id FROM outbox
        WHERE store_id = p_store_id AND channel = p_channel AND due_at <= v_now
            AND delivered_at IS NULL AND dead_at IS NULL
        ORDER BY due_at, message_id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), taken AS (
        -- Whatever ended its last worker before it could say so must not do so for ever.
        UPDATE outbox AS o SET
            attempts = o.attempts + 1,
            due_at = v_now + p_lease,
            dead_at = CASE WHEN o.attempts >= o.max_attempts THEN v_now END
        FROM due WHERE o.store_id = p_store_id AND o.message_id = due.message_id
        RETURNING o.*
    )
    SELECT 'ok', message_id, attempts, payload, created_at FROM taken
    WHERE dead_at IS NULL ORDER BY message_id;
END $$;

COMMENT ON FUNCTION take_messages IS
    'Lease up to p_limit due messages of a channel, oldest first: until p_lease is over nobody '
    'else gets them, then whoever asks. attempt is the lease''s token: finish_message, '
    'retry_message, split_message and bury_message want it back.';
