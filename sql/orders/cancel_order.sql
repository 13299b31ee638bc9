CREATE OR REPLACE FUNCTION cancel_order(
    p_store_id text, p_order_id text, p_user_id bigint, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order orders;
    v_state text;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_order := lock_order(p_store_id, p_order_id, p_user_id);
    result_code := refuse_order(p_store_id, v_order);
    IF result_code IS NULL AND v_order.closed_at IS NULL THEN
        v_state := lock_order_stock(v_order, '{}');
    END IF;
    v_now := clock_timestamp();

    -- Check.
    result_code := COALESCE(result_code, CASE v_order.status
        WHEN 'paid' THEN 'order_closed'
        WHEN 'cancelled' THEN 'already_cancelled'
        ELSE 'ok' END);
    document := CASE result_code
        WHEN 'order_closed' THEN jsonb_build_object('order_status', v_order.status)
        WHEN 'already_cancelled' THEN order_document(p_store_id, p_order_id) END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    IF v_state = 'expired' THEN
        PERFORM lapse_hold(p_store_id, 'order:' || p_order_id);
    ELSE
        PERFORM release_lines(p_store_id, 'order:' || p_order_id, p_actor);
    END IF;
    PERFORM set_change_context(p_actor, 'order', p_order_id);
    UPDATE orders SET status = 'cancelled', closed_at = v_now, version = version + 1,
        closed_by = COALESCE(p_actor, session_user)
    WHERE store_id = p_store_id AND order_id = p_order_id;
    PERFORM set_change_context(NULL);
    document := order_document(p_store_id, p_order_id);
    PERFORM emit_event(p_store_id, 'order.cancelled', document);
END $$;

COMMENT ON FUNCTION cancel_order IS
    'End an order that is not paid, and give back what it holds. Codes: ok, already_cancelled, '
    'order_closed (it is paid), unknown_order, unknown_store.';
