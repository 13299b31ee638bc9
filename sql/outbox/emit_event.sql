CREATE OR REPLACE FUNCTION emit_event(p_store_id text, p_type text, p_data jsonb)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM emit_events(p_store_id, p_type, ARRAY[p_data]);
END $$;

COMMENT ON FUNCTION emit_event IS
    'Tell the webhooks of a store of an event, one of event_types(), if the caller''s transaction '
    'commits; for the function that makes the change. See emit_events for p_data.';
