CREATE OR REPLACE FUNCTION describe_entries(p_store_id text, p_entry_ids bigint[])
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- LATERAL looks each entry up by its key, also while no statistics tell the planner to.
    RETURN (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'transaction_id', COALESCE(e.transaction_id,
                format('%s:%s', e.reason, COALESCE(e.reference, e.entry_id::text))),
            'account_id', e.account_id,
            'amount', e.amount,
            'balance_after', e.balance_after,
            'reason', e.reason,
            'created_at', rfc3339(e.created_at)
        ) ORDER BY w.position), '[]')
        FROM unnest(p_entry_ids) WITH ORDINALITY AS w (entry_id, position) CROSS JOIN LATERAL (
            SELECT * FROM account_entries AS a
            WHERE a.store_id = p_store_id AND a.entry_id = w.entry_id LIMIT 1
        ) AS e
    );
END $$;

COMMENT ON FUNCTION describe_entries IS
    'Changes of balances as callers see them, an array in the order of their ids given. What is '
    'no payment gets an id with a colon, such as purchase:17, that no payer''s system can have '
    'chosen.';
