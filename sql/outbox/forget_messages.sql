CREATE OR REPLACE FUNCTION forget_messages(
    p_store_id text, p_keep interval, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep;
    -- Before the DELETE: as a subquery of it the rows may be looked for again and again, each time
    -- others than those that are locked already.
    v_message_ids bigint[] := ARRAY(
        SELECT message_id FROM outbox
        WHERE store_id = p_store_id AND COALESCE(delivered_at, skipped_at) < v_before
        ORDER BY COALESCE(delivered_at, skipped_at) LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
BEGIN
    DELETE FROM outbox WHERE store_id = p_store_id AND message_id = ANY (v_message_ids);
    document := jsonb_build_object('done', cardinality(v_message_ids));
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION forget_messages IS
    'Bookkeeping: drop up to p_limit messages that were delivered or skipped longer than p_keep '
    'ago, oldest first. Dead letters stay. document: how many were done. Code: ok.';
