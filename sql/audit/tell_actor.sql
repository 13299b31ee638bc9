CREATE OR REPLACE FUNCTION tell_actor(p_actor text) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_config('holdfast.actor', COALESCE(p_actor, ''), true);
END $$;

COMMENT ON FUNCTION tell_actor IS
    'Say who makes the changes that follow in this transaction; null when the function is done, '
    'so that a later statement of the transaction is not taken for its doing.';
