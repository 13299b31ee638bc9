CREATE OR REPLACE FUNCTION list_deliveries(
    p_store_id text, p_hook_id bigint, p_after bigint, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_delivery_ids bigint[];
BEGIN
    result_code := CASE
        WHEN EXISTS (
            SELECT FROM hooks WHERE store_id = p_store_id AND hook_id = p_hook_id
        ) THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_hook'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    v_delivery_ids := ARRAY(
        SELECT message_id FROM outbox
        WHERE store_id = p_store_id AND channel = 'webhook' AND target <> ''
            AND target = p_hook_id::text
            AND message_id < COALESCE(p_after, 9223372036854775807)
        ORDER BY message_id DESC LIMIT p_limit
    );
    document := jsonb_build_object(
        'deliveries', delivery_documents(p_store_id, v_delivery_ids),
        'next', CASE WHEN cardinality(v_delivery_ids) = p_limit THEN v_delivery_ids[p_limit] END);
END $$;

COMMENT ON FUNCTION list_deliveries IS
    'What was told to a target, or is to be told, newest first, at most p_limit older than '
    'p_after; next is the p_after of the page that follows, or null. Codes: ok, unknown_hook, '
    'unknown_store.';
