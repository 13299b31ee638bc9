CREATE OR REPLACE FUNCTION pay_order(
    p_store_id text, p_order_id text, p_user_id bigint, p_account_id bigint, p_reference text,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order orders;
    v_state text;
    v_balance bigint;
BEGIN
    -- Lock. The order, its stock, then the account: one of the owner's, where somebody owns it.
    v_order := lock_order(p_store_id, p_order_id, p_user_id);
    result_code := refuse_order(p_store_id, v_order);
    IF result_code IS NULL AND v_order.closed_at IS NULL THEN
        v_state := lock_order_stock(v_order, '{}');
        SELECT balance INTO v_balance FROM accounts
        WHERE store_id = p_store_id AND account_id = p_account_id
            AND user_id = COALESCE(v_order.user_id, user_id) FOR UPDATE;
    END IF;

    -- Check.
    result_code := COALESCE(result_code, CASE
        WHEN num_nonnulls(p_account_id, p_reference) <> 1 THEN 'invalid_request'
        WHEN v_order.status = 'paid' AND (v_order.account_id, v_order.reference)
            IS NOT DISTINCT FROM (p_account_id, p_reference) THEN 'already_paid'
        WHEN v_order.closed_at IS NOT NULL THEN 'order_closed'
        WHEN v_state = 'expired' THEN 'order_expired'
        WHEN NOT EXISTS (
            SELECT FROM order_lines WHERE store_id = p_store_id AND order_id = p_order_id
        ) THEN 'order_empty'
        WHEN p_account_id IS NOT NULL AND v_balance IS NULL THEN 'unknown_account'
        WHEN v_balance < v_order.total THEN 'insufficient_funds'
        ELSE 'ok' END);
    document := CASE result_code
        WHEN 'order_closed' THEN jsonb_build_object('order_status', v_order.status)
        WHEN 'insufficient_funds' THEN jsonb_build_object(
            'total', v_order.total, 'balance', v_balance)
        WHEN 'already_paid' THEN order_document(p_store_id, p_order_id) END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Units and money leave together, and both ledgers name the order.
    PERFORM commit_order(v_order, p_account_id, p_reference, p_actor);
    document := order_document(p_store_id, p_order_id);
    PERFORM emit_event(p_store_id, 'order.paid', document);
END $$;

COMMENT ON FUNCTION pay_order IS
    'Capture the total of an open order from an account, of its owner where somebody owns it, or '
    'write down by p_reference that it was paid outside; its goods leave the store, all once. '
    'Codes: ok, already_paid (the same payment), insufficient_funds, unknown_account, order_empty, '
    'order_expired, order_closed, unknown_order, unknown_store, invalid_request.';
