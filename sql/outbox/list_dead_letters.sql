CREATE OR REPLACE FUNCTION list_dead_letters(
    p_store_id text, p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'dead_letters', COALESCE(jsonb_agg(jsonb_build_object(
            'message_id', d.message_id, 'channel', d.channel, 'type', d.type,
            'hook_id', d.hook_id, 'url', h.url, 'attempts', d.attempts,
            'reply_code', d.reply_code, 'last_error', d.last_error,
            'created_at', rfc3339(d.created_at), 'dead_at', rfc3339(d.dead_at))
            ORDER BY d.message_id DESC), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN min(d.message_id) END)
    INTO document
    FROM (
        SELECT o.*, COALESCE(o.payload ->> 'type', o.payload ->> 'mail') AS type,
            CASE WHEN o.channel = 'webhook' THEN NULLIF(o.target, '')::bigint END AS hook_id
        FROM outbox AS o
        WHERE o.store_id = p_store_id AND o.dead_at IS NOT NULL
            AND o.message_id < COALESCE(p_after, 9223372036854775807)
        ORDER BY o.message_id DESC LIMIT p_limit
    ) AS d
    LEFT JOIN hooks AS h ON h.store_id = p_store_id AND h.hook_id = d.hook_id;
END $$;

COMMENT ON FUNCTION list_dead_letters IS
    'Messages of a store that were given up, newest first, at most p_limit before p_after, without '
    'their content; next is the p_after of the page that follows, or null. Codes: ok, '
    'unknown_store.';
