CREATE OR REPLACE FUNCTION user_document(p_store_id text, p_user_id bigint) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = holdfast, pg_temp AS $$
    SELECT jsonb_build_object(
        'user_id', u.user_id, 'login', u.login, 'role', u.role, 'is_active', u.is_active,
        'created_at', rfc3339(u.created_at))
    FROM users AS u WHERE u.store_id = p_store_id AND u.user_id = p_user_id
$$;

COMMENT ON FUNCTION user_document IS 'A user as admins see one; null where there is none.';
