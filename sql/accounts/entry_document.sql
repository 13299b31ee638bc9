CREATE OR REPLACE FUNCTION entry_document(p_store_id text, p_entry_id bigint)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'transaction_id', COALESCE(
                transaction_id, format('%s:%s', reason, COALESCE(reference, entry_id::text))),
            'account_id', account_id,
            'amount', amount,
            'balance_after', balance_after,
            'reason', reason,
            'created_at', rfc3339(created_at)
        )
        FROM account_entries WHERE store_id = p_store_id AND entry_id = p_entry_id
    );
END $$;

COMMENT ON FUNCTION entry_document IS
    'One change of a balance, as callers see it. What is no payment gets an id with a colon, such '
    'as purchase:17, that no payer''s system can have chosen.';
