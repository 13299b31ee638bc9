CREATE OR REPLACE FUNCTION lease_messages(
    p_store_id text, p_channel text, p_target text, p_limit int, p_lease interval,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- What another worker is just taking is left to it.
    WITH due AS (
        SELECT message_id FROM outbox
        WHERE store_id = p_store_id AND channel = p_channel AND target = p_target
            AND is_waiting AND due_at <= v_now
        ORDER BY due_at, message_id LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), leased AS (
        -- A poison message: give up after max_attempts leases, or it would kill every worker.
        UPDATE outbox AS o SET
            attempts = o.attempts + 1,
            due_at = v_now + p_lease,
            dead_at = CASE WHEN o.attempts >= o.max_attempts THEN v_now END
        FROM due WHERE o.store_id = p_store_id AND o.message_id = due.message_id
        RETURNING o.*
    )
    SELECT COALESCE(jsonb_agg(jsonb_build_object(
        'message_id', message_id, 'attempt', attempts, 'payload', payload,
        'created_at', rfc3339(created_at)) ORDER BY message_id), '[]')
    INTO document FROM leased WHERE dead_at IS NULL;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION lease_messages IS
    'Lease up to p_limit due messages of a channel to a target (empty: the channel has none), '
    'longest due first: until p_lease is over nobody else gets them, then whoever asks. document: '
    'an array of them; attempt is the lease''s token, which settle_message wants back. Code: ok.';
