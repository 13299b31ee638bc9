CREATE OR REPLACE FUNCTION checkout_order(
    p_store_id text, p_order_id text, p_user_id bigint, p_hold_seconds int, p_max_seconds int,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order orders;
BEGIN
    -- Lock.
    v_order := lock_order(p_store_id, p_order_id, p_user_id);
    result_code := refuse_order(p_store_id, v_order);

    -- Check.
    result_code := COALESCE(result_code, CASE
        WHEN v_order.closed_at IS NOT NULL THEN 'order_closed'
        WHEN NOT EXISTS (
            SELECT FROM order_lines WHERE store_id = p_store_id AND order_id = p_order_id
        ) THEN 'order_empty' END);
    IF result_code IS NULL THEN
        SELECT h.result_code, h.document INTO result_code, document
        FROM hold_order(v_order, NULL, NULL, p_hold_seconds, p_max_seconds, p_actor) AS h;
    END IF;
    IF result_code <> 'ok' THEN
        IF result_code = 'order_closed' THEN
            document := jsonb_build_object('order_status', v_order.status);
        END IF;
        RETURN;
    END IF;

    -- Write.
    IF v_order.status = 'expired' THEN
        PERFORM write_order_line(v_order, NULL, NULL, NULL, 'open', p_actor);
    END IF;
    document := order_document(p_store_id, p_order_id);
END $$;

COMMENT ON FUNCTION checkout_order IS
    'Let the hold of an order live on while its customer pays; one that has expired is taken anew. '
    'Codes: ok, order_empty, insufficient_stock, unknown_product, order_closed, unknown_order, '
    'unknown_store, reservation_closed, invalid_request.';
