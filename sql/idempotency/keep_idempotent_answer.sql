CREATE OR REPLACE FUNCTION keep_idempotent_answer(
    p_store_id text, p_caller text, p_route text, p_key text, p_fingerprint text,
    p_status int, p_body text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    INSERT INTO idempotency_keys
        (store_id, caller, route, idempotency_key, fingerprint, status, body)
    VALUES (p_store_id, p_caller, p_route, p_key, p_fingerprint, p_status, p_body)
    -- Only a key of more than 30 days ago can be in the way.
    ON CONFLICT (store_id, caller, route, idempotency_key) DO UPDATE SET
        fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        created_at = excluded.created_at;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION keep_idempotent_answer IS
    'Remember what a request was answered, committed together with what it did. Code: ok.';
