CREATE OR REPLACE FUNCTION set_order_line(
    p_store_id text, p_order_id text, p_product_id text, p_quantity bigint, p_user_id bigint,
    p_hold_seconds int, p_max_seconds int, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order orders;
    v_state text;
    v_line order_lines;
    v_product products;
    v_line_count bigint;
    v_is_growing boolean;
BEGIN
    -- Lock.
    v_order := lock_order(p_store_id, p_order_id, p_user_id);
    result_code := refuse_order(p_store_id, v_order);
    IF result_code IS NULL AND v_order.closed_at IS NULL THEN
        v_state := lock_order_stock(v_order, ARRAY[p_product_id]);
    END IF;

    -- Check.
    SELECT * INTO v_product FROM products
    WHERE store_id = p_store_id AND product_id = p_product_id AND is_active;
    SELECT * INTO v_line FROM order_lines
    WHERE store_id = p_store_id AND order_id = p_order_id AND product_id = p_product_id;
    SELECT count(*) INTO v_line_count FROM order_lines
    WHERE store_id = p_store_id AND order_id = p_order_id;
    v_is_growing := p_quantity > COALESCE(v_line.quantity, 0);
    result_code := COALESCE(result_code, CASE
        WHEN NOT COALESCE(p_quantity BETWEEN 0 AND 2147483647, false) THEN 'invalid_request'
        WHEN v_order.closed_at IS NOT NULL THEN 'order_closed'
        WHEN p_quantity = 0 AND v_line.product_id IS NULL THEN 'unknown_line'
        WHEN v_is_growing AND v_product.product_id IS NULL THEN 'unknown_product'
        WHEN v_is_growing AND v_product.price IS NULL THEN 'not_for_sale'
        WHEN v_line.product_id IS NULL AND v_line_count >= 100 THEN 'invalid_request'
        WHEN v_state = 'expired' THEN 'ok' END);
    IF result_code IS NULL THEN
        SELECT h.result_code, h.document INTO result_code, document
        FROM hold_order(v_order, p_product_id, p_quantity, p_hold_seconds, p_max_seconds,
            p_actor) AS h;
    END IF;
    IF result_code <> 'ok' THEN
        IF result_code = 'order_closed' THEN
            document := jsonb_build_object('order_status', v_order.status);
        END IF;
        RETURN;
    END IF;

    -- Write.
    PERFORM write_order_line(v_order, p_product_id, p_quantity,
        COALESCE(v_line.price_at_purchase, v_product.price), v_order.status, p_actor);
    document := order_document(p_store_id, p_order_id);
END $$;

COMMENT ON FUNCTION set_order_line IS
    'Set how many units of a product an order has; 0 takes the line away. What is given back is '
    'available at once, what is more is held or nothing changes; an expired order holds nothing. '
    'Codes: ok, insufficient_stock, not_for_sale, unknown_product, unknown_line (there is none to '
    'take away), order_closed, unknown_order, unknown_store, reservation_closed, invalid_request.';
