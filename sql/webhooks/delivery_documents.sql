CREATE OR REPLACE FUNCTION delivery_documents(p_store_id text, p_delivery_ids bigint[])
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'delivery_id', delivery_id, 'event_id', event_id, 'type', event_type,
            'status', status, 'attempts', attempts,
            'reply_code', reply_code, 'last_error', last_error,
            'created_at', rfc3339(created_at), 'due_at', rfc3339(due_at),
            'ended_at', rfc3339(ended_at)) ORDER BY delivery_id DESC), '[]')
        FROM hook_deliveries WHERE store_id = p_store_id AND delivery_id = ANY (p_delivery_ids)
    );
END $$;

COMMENT ON FUNCTION delivery_documents IS
    'Deliveries to targets of webhooks as staff see them: an array, newest first.';
