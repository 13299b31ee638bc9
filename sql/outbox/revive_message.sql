CREATE OR REPLACE FUNCTION revive_message(
    p_store_id text, p_message_id bigint, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_message outbox;
BEGIN
    -- Lock.
    SELECT * INTO v_message FROM outbox
    WHERE store_id = p_store_id AND message_id = p_message_id FOR UPDATE;
    v_now := clock_timestamp();

    -- Check.
    result_code := CASE
        WHEN v_message.store_id IS NULL THEN 'unknown_message'
        WHEN v_message.dead_at IS NULL THEN 'not_dead'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. The attempts go on counting, because their number is the token of the lease.
    UPDATE outbox SET
        dead_at = NULL, due_at = v_now, max_attempts = attempts + 40,
        revived_at = v_now, revived_by = session_user
    WHERE store_id = p_store_id AND message_id = p_message_id;
END $$;

COMMENT ON FUNCTION revive_message IS
    'Have a dead letter tried again, from now; the row says who wanted that and when. Codes: ok, '
    'not_dead (it waits, or was delivered or skipped), unknown_message.';
