CREATE OR REPLACE FUNCTION read_statement(
    p_store_id text, p_user_id bigint, p_after bigint, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_accounts jsonb;
    v_after account_entries;
    v_entries bigint[];
BEGIN
    SELECT jsonb_build_object('user_id', u.user_id, 'login', u.login, 'role', u.role)
    INTO document FROM users AS u WHERE u.store_id = p_store_id AND u.user_id = p_user_id;
    result_code := CASE
        WHEN document IS NOT NULL THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_user'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    SELECT COALESCE(jsonb_agg(jsonb_build_object(
        'account_id', a.account_id, 'bill_id', a.bill_id, 'balance', a.balance
    ) ORDER BY a.account_id), '[]')
    INTO v_accounts FROM accounts AS a WHERE a.store_id = p_store_id AND a.user_id = p_user_id;

    -- The newest of each account, then of those the newest: as few rows as can be. No entry is
    -- older than one that is not theirs.
    SELECT * INTO v_after FROM account_entries AS e
    WHERE e.store_id = p_store_id AND e.entry_id = p_after AND e.user_id = p_user_id;
    v_entries := ARRAY(
        SELECT n.entry_id
        FROM accounts AS a CROSS JOIN LATERAL (
            SELECT l.entry_id, l.created_at, l.account_id, l.number FROM account_entries AS l
            WHERE l.store_id = p_store_id AND l.account_id = a.account_id
                AND (p_after IS NULL OR (l.created_at, l.account_id, l.number)
                    < (v_after.created_at, v_after.account_id, v_after.number))
            ORDER BY l.created_at DESC, l.number DESC LIMIT p_limit
        ) AS n
        WHERE a.store_id = p_store_id AND a.user_id = p_user_id
        ORDER BY n.created_at DESC, n.account_id DESC, n.number DESC LIMIT p_limit
    );
    document := document || jsonb_build_object(
        'accounts', v_accounts,
        'transactions', describe_entries(p_store_id, v_entries),
        'next', v_entries[p_limit]);
END $$;

COMMENT ON FUNCTION read_statement IS
    'A user with their accounts and, newest first, at most p_limit changes of the balances older '
    'than p_after, an entry of theirs (null: from the newest); next is the p_after of the page '
    'that follows, or null. Codes: ok, unknown_user, unknown_store.';
