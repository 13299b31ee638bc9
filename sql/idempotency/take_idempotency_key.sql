CREATE OR REPLACE FUNCTION take_idempotency_key(
    p_store_id text, p_caller text, p_route text, p_key text, p_fingerprint text,
    OUT result_code text, OUT answer_status int, OUT answer_body text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_after timestamptz := clock_timestamp() - idempotency_period();
    v_kept idempotency_keys;
BEGIN
    -- Lock. Not the unique key: a twin would wait there, and is to hear at once.
    IF NOT pg_try_advisory_xact_lock(hashtextextended(
        concat_ws(E'\n', p_store_id, p_caller, p_route, p_key), 0)) THEN
        result_code := 'request_in_progress';
        RETURN;
    END IF;

    -- Check.
    SELECT * INTO v_kept FROM idempotency_keys
    WHERE store_id = p_store_id AND caller = p_caller AND route = p_route
        AND idempotency_key = p_key AND created_at > v_after;
    result_code := CASE
        WHEN v_kept.fingerprint IS NULL THEN 'ok'
        WHEN v_kept.fingerprint <> p_fingerprint THEN 'idempotency_key_reused'
        ELSE 'replayed' END;
    IF result_code = 'replayed' THEN
        answer_status := v_kept.status;
        answer_body := v_kept.body;
    END IF;
END $$;

COMMENT ON FUNCTION take_idempotency_key IS
    'Begin a request that must happen once, in the transaction that does it. Codes: ok (go on, '
    'and keep_idempotent_answer()), replayed (this was answered before), idempotency_key_reused '
    '(for another request), request_in_progress (its twin is being answered).';
