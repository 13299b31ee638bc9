CREATE OR REPLACE FUNCTION finish_message(
    p_store_id text, p_message_id bigint, p_attempt int, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock. Check.
    result_code := lock_message(p_store_id, p_message_id, p_attempt);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE outbox SET delivered_at = clock_timestamp()
    WHERE store_id = p_store_id AND message_id = p_message_id;
END $$;

COMMENT ON FUNCTION finish_message IS
    'Write down that a message was delivered by its attempt p_attempt. Codes: ok, '
    'already_delivered, lease_lost, unknown_message.';
