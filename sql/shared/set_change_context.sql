CREATE OR REPLACE FUNCTION set_change_context(
    p_actor text, p_reason text DEFAULT NULL, p_reference text DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_config('holdfast.actor', COALESCE(p_actor, ''), true),
        set_config('holdfast.reason', COALESCE(p_reason, ''), true),
        set_config('holdfast.reference', COALESCE(p_reference, ''), true);
END $$;

COMMENT ON FUNCTION set_change_context IS
    'Say who makes the changes that follow, why, and for what: the ledgers of stock and money and '
    'audit_log write it down. Called with NULL when the function is done, so that a later '
    'statement of the transaction is not taken for its doing.';
