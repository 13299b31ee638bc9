CREATE OR REPLACE FUNCTION user_documents(p_store_id text, p_user_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_documents jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object(
        'user_id', u.user_id, 'login', u.login, 'email', u.email, 'role', u.role,
        'is_active', u.is_active, 'has_totp', t.user_id IS NOT NULL,
        'created_at', rfc3339(u.created_at), 'accounts', COALESCE(a.accounts, '[]')
    ) ORDER BY u.user_id) INTO v_documents
    FROM users AS u
    LEFT JOIN user_totp AS t
        ON t.store_id = u.store_id AND t.user_id = u.user_id AND t.confirmed_at IS NOT NULL
    LEFT JOIN (
        SELECT store_id, user_id, jsonb_agg(jsonb_build_object(
            'account_id', account_id, 'bill_id', bill_id, 'balance', balance
        ) ORDER BY account_id) AS accounts
        FROM accounts WHERE store_id = p_store_id AND user_id = ANY (p_user_ids)
        GROUP BY store_id, user_id
    ) AS a ON a.store_id = u.store_id AND a.user_id = u.user_id
    WHERE u.store_id = p_store_id AND u.user_id = ANY (p_user_ids);
    RETURN COALESCE(v_documents, '[]');
END $$;

COMMENT ON FUNCTION user_documents IS 'Users as admins see them, by id, as a JSON array.';
