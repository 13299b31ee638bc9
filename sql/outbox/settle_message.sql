CREATE OR REPLACE FUNCTION settle_message(
    p_store_id text, p_message_id bigint, p_attempt int,
    p_outcome text, p_reply_code int, p_error text, p_wait interval,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_pause interval;
    v_message outbox;
BEGIN
    -- Lock.
    result_code := lock_message(p_store_id, p_message_id, p_attempt);
    v_now := clock_timestamp();

    -- Check.
    IF result_code = 'ok' AND (p_outcome IN ('delivered', 'skipped', 'failed', 'refused'))
        IS NOT TRUE
    THEN
        result_code := 'invalid_request';
    END IF;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. After a failure 5 s, 10 s, 20 s … an hour, each a quarter more or less, so that what
    -- failed together does not come back together.
    v_pause := LEAST(interval '5 s' * 2 ^ LEAST(p_attempt - 1, 20), interval '1 h')
        * (0.75 + random() / 2);
    UPDATE outbox AS o SET
        delivered_at = CASE WHEN p_outcome = 'delivered' THEN v_now END,
        skipped_at = CASE WHEN p_outcome = 'skipped' THEN v_now END,
        dead_at = CASE
            WHEN p_outcome = 'refused' OR p_outcome = 'failed' AND o.attempts >= o.max_attempts
            THEN v_now END,
        due_at = CASE p_outcome WHEN 'failed' THEN v_now + GREATEST(v_pause, p_wait)
            ELSE o.due_at END,
        reply_code = p_reply_code,
        last_error = COALESCE(p_error, o.last_error)
    WHERE o.store_id = p_store_id AND o.message_id = p_message_id
    RETURNING o.* INTO v_message;
    document := jsonb_build_object(
        'is_waiting', v_message.is_waiting, 'is_dead', v_message.dead_at IS NOT NULL,
        'due_at', CASE WHEN v_message.is_waiting THEN rfc3339(v_message.due_at) END);
END $$;

COMMENT ON FUNCTION settle_message IS
    'Write down how the attempt p_attempt to deliver a message went: delivered; skipped (nobody '
    'needs it any more); failed (tried again, ever later, and not before p_wait is over; after '
    'the last attempt given up); refused (no other attempt could deliver it: given up). '
    'p_reply_code: the other side''s, of HTTP or SMTP. Codes: ok, already_settled, lease_lost, '
    'unknown_message, invalid_request.';
