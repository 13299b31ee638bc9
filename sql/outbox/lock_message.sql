CREATE OR REPLACE FUNCTION lock_message(
    p_store_id text, p_message_id bigint, p_attempt int
) RETURNS text LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_message outbox;
BEGIN
    SELECT * INTO v_message FROM outbox
    WHERE store_id = p_store_id AND message_id = p_message_id FOR UPDATE;

    RETURN CASE
        WHEN v_message.store_id IS NULL THEN 'unknown_message'
        WHEN v_message.attempts IS DISTINCT FROM p_attempt THEN 'lease_lost'
        WHEN v_message.is_waiting THEN 'ok'
        WHEN v_message.dead_at IS NOT NULL THEN 'lease_lost'
        ELSE 'already_settled' END;
END $$;

COMMENT ON FUNCTION lock_message IS
    'Lock a message for the worker that took it as its attempt p_attempt. Codes: ok, '
    'already_settled (delivered or skipped), lease_lost (another worker has taken it since, or it '
    'was given up), unknown_message.';
