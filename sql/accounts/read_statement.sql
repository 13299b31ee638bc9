CREATE OR REPLACE FUNCTION read_statement(
    p_store_id text, p_user_id bigint, p_after bigint, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT jsonb_build_object('user_id', u.user_id, 'login', u.login, 'role', u.role)
    INTO document FROM users AS u WHERE u.store_id = p_store_id AND u.user_id = p_user_id;
    result_code := CASE
        WHEN document IS NOT NULL THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_user'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    document := document || (
        SELECT jsonb_build_object('accounts', COALESCE(jsonb_agg(jsonb_build_object(
            'account_id', a.account_id, 'bill_id', a.bill_id, 'balance', a.balance
        ) ORDER BY a.account_id), '[]'))
        FROM accounts AS a WHERE a.store_id = p_store_id AND a.user_id = p_user_id
    ) || (
        SELECT jsonb_build_object(
            'transactions', COALESCE(
                jsonb_agg(entry_document(p_store_id, e.entry_id) ORDER BY e.entry_id DESC), '[]'),
            'next', CASE WHEN count(*) = p_limit THEN min(e.entry_id) END)
        FROM (
            -- The newest of each account, then of those the newest: as few rows as can be.
            SELECT n.entry_id
            FROM accounts AS a CROSS JOIN LATERAL (
                SELECT l.entry_id FROM account_entries AS l
                WHERE l.store_id = a.store_id AND l.account_id = a.account_id
                    AND (p_after IS NULL OR l.entry_id < p_after)
                ORDER BY l.entry_id DESC LIMIT p_limit
            ) AS n
            WHERE a.store_id = p_store_id AND a.user_id = p_user_id
            ORDER BY n.entry_id DESC LIMIT p_limit
        ) AS e
    );
END $$;

COMMENT ON FUNCTION read_statement IS
    'A user with their accounts and, newest first, at most p_limit changes of the balances older '
    'than p_after (null: from the newest); next is the p_after of the page that follows, or null. '
    'Codes: ok, unknown_user, unknown_store.';
