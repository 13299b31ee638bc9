CREATE OR REPLACE FUNCTION bury_message(
    p_store_id text, p_message_id bigint, p_attempt int, p_error text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock. Check.
    result_code := lock_message(p_store_id, p_message_id, p_attempt);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    UPDATE outbox SET dead_at = clock_timestamp(), last_error = p_error
    WHERE store_id = p_store_id AND message_id = p_message_id;
END $$;

COMMENT ON FUNCTION bury_message IS
    'Give a message up: no other attempt could deliver it. It stays a dead letter until somebody '
    'revives it. Codes: ok, already_delivered, lease_lost, unknown_message.';
