CREATE OR REPLACE FUNCTION keep_idempotent_answer(
    p_store_id text, p_caller text, p_route text, p_key text, p_fingerprint text,
    p_status int, p_body text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO idempotency_keys
        (store_id, caller, route, idempotency_key, fingerprint, status, body, created_at)
    VALUES (p_store_id, p_caller, p_route, p_key, p_fingerprint, p_status, p_body, v_now)
    -- Only a key of longer ago than the period can be in the way.
    ON CONFLICT (store_id, caller, route, idempotency_key) DO UPDATE SET
        fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        created_at = excluded.created_at;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION keep_idempotent_answer IS
    'Remember what a request was answered, committed together with what it did. Code: ok.';
