CREATE OR REPLACE FUNCTION resend_dead_letter(
    p_store_id text, p_message_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_hook_id bigint := (
        SELECT NULLIF(target, '')::bigint FROM outbox
        WHERE store_id = p_store_id AND message_id = p_message_id AND channel = 'webhook'
    );
    v_is_active boolean;
    v_now timestamptz;
    v_message outbox;
BEGIN
    -- Lock. The target of a webhook, then its message.
    SELECT is_active INTO v_is_active FROM hooks
    WHERE store_id = p_store_id AND hook_id = v_hook_id FOR KEY SHARE;
    SELECT * INTO v_message FROM outbox
    WHERE store_id = p_store_id AND message_id = p_message_id FOR UPDATE;
    v_now := clock_timestamp();

    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_message.message_id IS NULL THEN 'unknown_message'
        WHEN v_message.dead_at IS NULL THEN 'not_dead'
        WHEN v_hook_id IS NOT NULL AND NOT COALESCE(v_is_active, false) THEN 'hook_off'
        ELSE 'ok' END;
    document := jsonb_build_object('message_id', p_message_id, 'hook_id', v_hook_id);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. The attempts go on counting, because their number is the token of the lease.
    UPDATE outbox SET
        dead_at = NULL, due_at = v_now, max_attempts = attempts + 40,
        revived_at = v_now, revived_by = COALESCE(p_actor, session_user)
    WHERE store_id = p_store_id AND message_id = p_message_id;
END $$;

COMMENT ON FUNCTION resend_dead_letter IS
    'Have a message that was given up tried again, from now; the row says who wanted that and '
    'when. Codes: ok, hook_off, not_dead (it waits, or was delivered or skipped), '
    'unknown_message, unknown_store.';
