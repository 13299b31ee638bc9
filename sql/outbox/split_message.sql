CREATE OR REPLACE FUNCTION split_message(
    p_store_id text, p_message_id bigint, p_attempt int, p_payloads jsonb, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- Lock. Check.
    result_code := lock_message(p_store_id, p_message_id, p_attempt);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    INSERT INTO outbox (store_id, channel, target, payload)
    SELECT o.store_id, o.channel, o.target, part.payload
    FROM outbox AS o
    CROSS JOIN jsonb_array_elements(p_payloads) WITH ORDINALITY AS part (payload, number)
    WHERE o.store_id = p_store_id AND o.message_id = p_message_id
    ORDER BY part.number;
    UPDATE outbox SET delivered_at = v_now
    WHERE store_id = p_store_id AND message_id = p_message_id;
END $$;

COMMENT ON FUNCTION split_message IS
    'Put messages of the same channel, an array of payloads, in the place of one: what fails '
    'then is tried again by itself. Codes: ok, already_settled, lease_lost, unknown_message.';
