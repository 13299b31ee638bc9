CREATE OR REPLACE FUNCTION remove_hook(
    p_store_id text, p_hook_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_skipped int;
BEGIN
    -- Lock. Nobody adds a message to a target that is about to go: split_events waits here.
    PERFORM FROM hooks WHERE store_id = p_store_id AND hook_id = p_hook_id FOR UPDATE;
    v_now := clock_timestamp();

    -- Check.
    result_code := CASE
        WHEN FOUND THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_hook'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    DELETE FROM hooks WHERE store_id = p_store_id AND hook_id = p_hook_id;
    PERFORM set_change_context(NULL);
    UPDATE outbox SET skipped_at = v_now, last_error = 'The target was removed.'
    WHERE store_id = p_store_id AND channel = 'webhook' AND target = p_hook_id::text
        AND is_waiting;
    GET DIAGNOSTICS v_skipped = ROW_COUNT;
    document := jsonb_build_object('hook_id', p_hook_id, 'skipped', v_skipped);
END $$;

COMMENT ON FUNCTION remove_hook IS
    'Remove a target; what waits for it is skipped, and told in the document. Codes: ok, '
    'unknown_hook, unknown_store.';
