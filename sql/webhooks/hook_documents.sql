CREATE OR REPLACE FUNCTION hook_documents(p_store_id text, p_hook_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'hook_id', hook_id, 'url', url, 'events', events, 'is_active', is_active,
            'failing_since', rfc3339(failing_since),
            'off_at', rfc3339(off_at), 'off_reason', off_reason,
            'old_secret_until', rfc3339(old_secret_until),
            'created_at', rfc3339(created_at)) ORDER BY hook_id), '[]')
        FROM hooks WHERE store_id = p_store_id AND hook_id = ANY (p_hook_ids)
    );
END $$;

COMMENT ON FUNCTION hook_documents IS
    'Targets of webhooks as staff see them, without secrets: an array, by id.';
