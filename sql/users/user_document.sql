CREATE OR REPLACE FUNCTION user_document(p_store_id text, p_user_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = holdfast, pg_temp AS $$
    SELECT jsonb_build_object(
        'user_id', u.user_id, 'login', u.login, 'role', u.role, 'is_active', u.is_active,
        'created_at', rfc3339(u.created_at),
        'accounts', (
            SELECT COALESCE(jsonb_agg(jsonb_build_object(
                'account_id', a.account_id, 'bill_id', a.bill_id, 'balance', a.balance
            ) ORDER BY a.account_id), '[]')
            FROM accounts AS a WHERE a.store_id = u.store_id AND a.user_id = u.user_id
        ))
    FROM users AS u WHERE u.store_id = p_store_id AND u.user_id = p_user_id
$$;

COMMENT ON FUNCTION user_document IS 'A user as admins see one; null where there is none.';
