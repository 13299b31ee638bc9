CREATE OR REPLACE FUNCTION resend_delivery(
    p_store_id text, p_hook_id bigint, p_delivery_id bigint, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_message outbox;
    v_is_active boolean;
    v_delivery_id bigint := p_delivery_id;
BEGIN
    -- Lock. The target, then its message.
    SELECT is_active INTO v_is_active FROM hooks
    WHERE store_id = p_store_id AND hook_id = p_hook_id FOR KEY SHARE;
    SELECT * INTO v_message FROM outbox
    WHERE store_id = p_store_id AND message_id = p_delivery_id AND channel = 'webhook'
        AND target = p_hook_id::text FOR UPDATE;
    v_now := clock_timestamp();

    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_is_active IS NULL THEN 'unknown_hook'
        WHEN v_message.message_id IS NULL THEN 'unknown_delivery'
        WHEN NOT v_is_active THEN 'hook_off'
        WHEN v_message.delivered_at IS NULL THEN 'ok'
        ELSE 'created' END;
    IF result_code NOT IN ('ok', 'created') THEN RETURN; END IF;

    -- Write. What was delivered stays so: it is sent anew, as the same event.
    IF result_code = 'created' THEN
        INSERT INTO outbox (store_id, channel, target, payload)
        VALUES (p_store_id, v_message.channel, v_message.target, v_message.payload)
        RETURNING message_id INTO v_delivery_id;
    ELSE
        UPDATE outbox SET
            dead_at = NULL, skipped_at = NULL, due_at = v_now,
            max_attempts = CASE WHEN is_waiting THEN max_attempts ELSE attempts + 40 END,
            revived_at = v_now, revived_by = COALESCE(p_actor, session_user)
        WHERE store_id = p_store_id AND message_id = p_delivery_id;
    END IF;
    document := delivery_documents(p_store_id, ARRAY[v_delivery_id]) -> 0;
END $$;

COMMENT ON FUNCTION resend_delivery IS
    'Have a delivery tried at once: what waits, was skipped or given up as it is, what was '
    'delivered as a delivery of its own, of the same event. document: the delivery. Codes: ok, '
    'created, hook_off, unknown_delivery, unknown_hook, unknown_store.';
