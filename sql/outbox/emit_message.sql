CREATE OR REPLACE FUNCTION emit_message(
    p_store_id text, p_channel text, p_payload jsonb
) RETURNS bigint LANGUAGE sql SET search_path = holdfast, pg_temp AS $$
    INSERT INTO outbox (store_id, channel, payload) VALUES (p_store_id, p_channel, p_payload)
    RETURNING message_id
$$;

COMMENT ON FUNCTION emit_message IS
    'Have a message sent if the caller''s transaction commits, and never otherwise. For the '
    'function that makes the change the message tells of. Returns the message''s id.';
