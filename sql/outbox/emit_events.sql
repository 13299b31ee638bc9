CREATE OR REPLACE FUNCTION emit_events(p_store_id text, p_type text, p_data jsonb[])
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF (p_type = ANY (event_types())) IS NOT TRUE THEN
        RAISE EXCEPTION 'No event has the type %', p_type USING
            ERRCODE = 'invalid_parameter_value', HINT = 'Add it to event_types().';
    END IF;
    INSERT INTO outbox (store_id, channel, payload)
    SELECT p_store_id, 'webhook', jsonb_build_object(
        'id', 'evt_' || replace(gen_random_uuid()::text, '-', ''), 'type', p_type, 'data', e.data)
    FROM unnest(p_data) WITH ORDINALITY AS e (data, number)
    ORDER BY e.number;
END $$;

COMMENT ON FUNCTION emit_events IS
    'Tell the webhooks of a store of several events of one type, each by an object of its own, '
    'if the caller''s transaction commits. Contacts of guests are left out: they are filled in '
    'when the webhook is sent.';
