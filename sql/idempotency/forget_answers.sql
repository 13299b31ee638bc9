CREATE OR REPLACE FUNCTION forget_answers(
    p_store_id text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - idempotency_period();
    v_rows tid[] := ARRAY(
        SELECT ctid FROM idempotency_keys
        WHERE store_id = p_store_id AND created_at <= v_before
        ORDER BY created_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
BEGIN
    DELETE FROM idempotency_keys WHERE store_id = p_store_id AND ctid = ANY (v_rows);
    document := jsonb_build_object('done', cardinality(v_rows));
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION forget_answers IS
    'Bookkeeping: drop up to p_limit answers that were kept for long enough, oldest first. '
    'document: how many were done. Code: ok.';
