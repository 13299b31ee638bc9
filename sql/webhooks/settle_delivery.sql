CREATE OR REPLACE FUNCTION settle_delivery(
    p_store_id text, p_message_id bigint, p_attempt int,
    p_outcome text, p_reply_code int, p_error text, p_wait interval,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_hook_id bigint;
    v_is_active boolean;
    v_failing_since timestamptz;
    v_off_reason text;
BEGIN
    -- Lock. The target, then its message, as those who remove the target do.
    SELECT target::bigint INTO v_hook_id FROM outbox
    WHERE store_id = p_store_id AND message_id = p_message_id;
    SELECT failing_since, is_active INTO v_failing_since, v_is_active FROM hooks
    WHERE store_id = p_store_id AND hook_id = v_hook_id FOR NO KEY UPDATE;

    -- Check. Write.
    SELECT s.result_code, s.document INTO result_code, document FROM settle_message(
        p_store_id, p_message_id, p_attempt, p_outcome, p_reply_code, p_error, p_wait) AS s;
    IF result_code <> 'ok' OR p_outcome = 'skipped' OR v_is_active IS NOT TRUE THEN RETURN; END IF;
    v_now := clock_timestamp();
    v_failing_since := CASE WHEN p_outcome <> 'delivered' THEN COALESCE(v_failing_since, v_now) END;
    v_off_reason := CASE
        WHEN p_outcome <> 'delivered' AND p_reply_code = 410 THEN 'gone'
        WHEN v_failing_since <= v_now - interval '3 days' THEN 'failing' END;
    UPDATE hooks SET
        failing_since = v_failing_since, off_reason = v_off_reason,
        is_active = v_off_reason IS NULL,
        off_at = CASE WHEN v_off_reason IS NOT NULL THEN v_now END
    WHERE store_id = p_store_id AND hook_id = v_hook_id
        AND (v_failing_since IS DISTINCT FROM failing_since OR v_off_reason IS NOT NULL);
    document := document || jsonb_build_object('off_reason', v_off_reason);
END $$;

COMMENT ON FUNCTION settle_delivery IS
    'settle_message for what was sent to a target, which is switched off by the answer 410, or '
    'after three days of failures only; document says so in off_reason. Codes: ok, '
    'already_settled, lease_lost, unknown_message, invalid_request.';
