CREATE OR REPLACE FUNCTION forget_idempotency_keys(
    p_store_id text, p_limit int DEFAULT 1000, OUT result_code text, OUT forgotten_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    DELETE FROM idempotency_keys WHERE store_id = p_store_id AND ctid = ANY (ARRAY(
        SELECT ctid FROM idempotency_keys
        WHERE store_id = p_store_id AND created_at <= clock_timestamp() - interval '30 days'
        ORDER BY created_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS forgotten_count = ROW_COUNT;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION forget_idempotency_keys IS
    'Bookkeeping: drop up to p_limit answers kept for 30 days, oldest first. Code: ok.';
