CREATE OR REPLACE FUNCTION fire_schedule(
    p_store_id text, p_name text, p_due_at timestamptz, p_next_due_at timestamptz,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_schedule schedules;
    v_now timestamptz;
    v_message_id bigint;
BEGIN
    -- Lock.
    SELECT * INTO v_schedule FROM schedules
    WHERE store_id = p_store_id AND name = p_name FOR UPDATE;
    v_now := clock_timestamp();

    -- Check. Whoever fires moves due_at on, so that one of many that saw it due can.
    result_code := CASE
        WHEN v_schedule.store_id IS NULL THEN 'unknown_schedule'
        WHEN v_schedule.due_at <> p_due_at THEN 'already_fired'
        WHEN v_schedule.due_at > v_now THEN 'not_due'
        WHEN p_next_due_at > p_due_at THEN 'ok'
        ELSE 'invalid_request' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Late on the same day is better than never; of a day gone by nobody wants to hear.
    IF (v_schedule.due_at AT TIME ZONE v_schedule.time_zone)::date
        = (v_now AT TIME ZONE v_schedule.time_zone)::date
    THEN
        v_message_id := emit_message(p_store_id, v_schedule.channel, v_schedule.payload);
    END IF;
    UPDATE schedules SET
        due_at = p_next_due_at,
        fired_at = CASE WHEN v_message_id IS NULL THEN fired_at ELSE v_now END
    WHERE store_id = p_store_id AND name = p_name;
    document := jsonb_build_object('message_id', v_message_id);
END $$;

COMMENT ON FUNCTION fire_schedule IS
    'Fire a schedule that is due at p_due_at, once, however many workers try: its message is '
    'written, unless that day is over where the schedule is kept, and it is due next at '
    'p_next_due_at. document: the message''s id, null where none was written. Codes: ok, '
    'already_fired, not_due (by the database''s clock), invalid_request, unknown_schedule.';
