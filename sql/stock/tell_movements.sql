CREATE OR REPLACE FUNCTION tell_movements(p_reason text, p_reference text) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_config('holdfast.reason', COALESCE(p_reason, ''), true),
        set_config('holdfast.reference', COALESCE(p_reference, ''), true);
END $$;

COMMENT ON FUNCTION tell_movements IS
    'Say why the changes of on_hand and balances that follow are made; nulls when the function is '
    'done, so that a later statement of the transaction is not taken for its doing.';
