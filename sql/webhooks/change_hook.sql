CREATE OR REPLACE FUNCTION change_hook(
    p_store_id text, p_hook_id bigint, p_changes jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_hook hooks;
    v_events text[];
    v_is_active boolean;
BEGIN
    -- Lock.
    SELECT * INTO v_hook FROM hooks
    WHERE store_id = p_store_id AND hook_id = p_hook_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();

    -- Check. What the changes do not name stays as it is.
    v_is_active := COALESCE((p_changes ->> 'is_active')::boolean, v_hook.is_active);
    v_events := CASE
        WHEN NOT p_changes ? 'events' THEN v_hook.events
        WHEN p_changes ->> 'events' IS NOT NULL
        THEN ARRAY(SELECT jsonb_array_elements_text(p_changes -> 'events')) END;
    result_code := CASE
        WHEN v_events = '{}' OR NOT v_events <@ event_types() THEN 'invalid_request'
        WHEN v_hook.hook_id IS NOT NULL THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_hook'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. One that is switched on again begins anew.
    PERFORM set_change_context(p_actor);
    UPDATE hooks SET
        events = v_events,
        is_active = v_is_active,
        failing_since = CASE WHEN is_active THEN failing_since END,
        off_at = CASE WHEN NOT v_is_active THEN COALESCE(off_at, v_now) END,
        off_reason = CASE WHEN NOT v_is_active THEN COALESCE(off_reason, 'staff') END
    WHERE store_id = p_store_id AND hook_id = p_hook_id
        AND (events IS DISTINCT FROM v_events OR is_active <> v_is_active);
    PERFORM set_change_context(NULL);
    document := hook_documents(p_store_id, ARRAY[p_hook_id]) -> 0;
END $$;

COMMENT ON FUNCTION change_hook IS
    'Change what of {is_active, events} p_changes has (events null: all). A target that is off is '
    'told nothing; what waits for it is skipped. Codes: ok, unknown_hook, unknown_store, '
    'invalid_request.';
