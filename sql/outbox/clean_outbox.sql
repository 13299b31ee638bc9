CREATE OR REPLACE FUNCTION clean_outbox(
    p_store_id text, p_keep interval, p_limit int DEFAULT 1000,
    OUT result_code text, OUT deleted_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    DELETE FROM outbox
    WHERE store_id = p_store_id AND message_id IN (
        SELECT message_id FROM outbox
        WHERE store_id = p_store_id AND delivered_at < clock_timestamp() - p_keep
        ORDER BY delivered_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS deleted_count = ROW_COUNT;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION clean_outbox IS
    'Forget up to p_limit messages that were delivered longer than p_keep ago, oldest first. '
    'Dead letters stay.';
