CREATE OR REPLACE FUNCTION emit_message(p_store_id text, p_channel text, p_payload jsonb)
RETURNS bigint LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_message_id bigint;
BEGIN
    INSERT INTO outbox (store_id, channel, payload) VALUES (p_store_id, p_channel, p_payload)
    RETURNING message_id INTO v_message_id;
    RETURN v_message_id;
END $$;

COMMENT ON FUNCTION emit_message IS
    'Have a message sent if the caller''s transaction commits, and never otherwise. For the '
    'function that makes the change the message tells of. Returns the message''s id.';
