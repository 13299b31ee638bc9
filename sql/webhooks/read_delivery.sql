CREATE OR REPLACE FUNCTION read_delivery(
    p_store_id text, p_hook_id bigint, p_message_id bigint,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_hook hooks;
    v_event jsonb;
    v_contact jsonb;
BEGIN
    SELECT * INTO v_hook FROM hooks WHERE store_id = p_store_id AND hook_id = p_hook_id;
    SELECT payload INTO v_event FROM outbox
    WHERE store_id = p_store_id AND message_id = p_message_id AND target = p_hook_id::text;
    result_code := CASE
        WHEN v_hook.hook_id IS NULL THEN 'unknown_hook'
        WHEN v_event IS NULL THEN 'unknown_message'
        WHEN NOT v_hook.is_active THEN 'hook_off'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- A guest's contacts stand in one row, which can be emptied: events only name the booking.
    SELECT jsonb_build_object(
        'name', g.name, 'email', g.email, 'phone', g.phone, 'user_id', b.user_id)
    INTO v_contact
    FROM bookings AS b JOIN guests AS g ON g.store_id = b.store_id AND g.guest_id = b.guest_id
    WHERE b.store_id = p_store_id
        AND b.booking_id = (v_event #>> '{data, booking_id}')::bigint;
    document := jsonb_build_object(
        'url', v_hook.url,
        'secrets', array_remove(ARRAY[v_hook.secret,
            CASE WHEN v_hook.old_secret_until > v_now THEN v_hook.old_secret END], NULL),
        'sent_at', floor(extract(epoch FROM v_now))::bigint,
        'event_id', v_event ->> 'id',
        'type', v_event ->> 'type',
        'timestamp', v_event ->> 'timestamp',
        'data', v_event -> 'data' || COALESCE(v_contact, '{}'));
END $$;

COMMENT ON FUNCTION read_delivery IS
    'For the worker: what to send to a target now, where to, and the secrets that sign it. Codes: '
    'ok, hook_off, unknown_hook, unknown_message.';
