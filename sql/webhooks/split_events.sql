CREATE OR REPLACE FUNCTION split_events(
    p_store_id text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_message_ids bigint[];
    v_hook_ids bigint[];
BEGIN
    -- Lock. Events that another worker is splitting are left to it; targets stay for now.
    v_message_ids := ARRAY(
        SELECT message_id FROM outbox
        WHERE store_id = p_store_id AND channel = 'webhook' AND target = '' AND is_waiting
            AND due_at <= v_now
        ORDER BY due_at, message_id LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
    v_hook_ids := ARRAY(
        SELECT hook_id FROM hooks WHERE store_id = p_store_id AND is_active
        ORDER BY hook_id FOR KEY SHARE
    );

    -- Write.
    INSERT INTO outbox (store_id, channel, target, payload)
    SELECT o.store_id, o.channel, h.hook_id::text,
        o.payload || jsonb_build_object('timestamp', rfc3339(o.created_at))
    FROM outbox AS o
    JOIN hooks AS h ON h.store_id = o.store_id AND h.hook_id = ANY (v_hook_ids)
    WHERE o.store_id = p_store_id AND o.message_id = ANY (v_message_ids)
        AND (h.events IS NULL OR o.payload ->> 'type' = ANY (h.events))
    ORDER BY o.message_id, h.hook_id;
    DELETE FROM outbox WHERE store_id = p_store_id AND message_id = ANY (v_message_ids);
    document := jsonb_build_object('done', cardinality(v_message_ids));
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION split_events IS
    'Put a message to each target that wants it in the place of an event, for up to p_limit of '
    'them; an event that nobody wants is done. document: how many were done. Code: ok.';
