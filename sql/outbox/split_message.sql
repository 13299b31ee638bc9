CREATE OR REPLACE FUNCTION split_message(
    p_store_id text, p_message_id bigint, p_attempt int, p_payloads jsonb, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock. Check.
    result_code := lock_message(p_store_id, p_message_id, p_attempt);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM emit_message(p_store_id, o.channel, part.payload)
    FROM outbox AS o
    CROSS JOIN jsonb_array_elements(p_payloads) WITH ORDINALITY AS part (payload, number)
    WHERE o.store_id = p_store_id AND o.message_id = p_message_id
    ORDER BY part.number;
    UPDATE outbox SET delivered_at = clock_timestamp()
    WHERE store_id = p_store_id AND message_id = p_message_id;
END $$;

COMMENT ON FUNCTION split_message IS
    'Put messages of the same channel, an array of payloads, in the place of one: what fails '
    'then is tried again by itself. Codes: ok, already_delivered, lease_lost, unknown_message.';
