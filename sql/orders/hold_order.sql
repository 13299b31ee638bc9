CREATE OR REPLACE FUNCTION hold_order(
    p_order orders, p_product_id text, p_quantity bigint, p_hold_seconds int, p_max_seconds int,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[];
    v_quantities bigint[];
BEGIN
    -- All lines are named: should the hold have lapsed, it is taken anew with them.
    SELECT array_agg(l.product_id), array_agg(l.quantity) INTO v_products, v_quantities
    FROM order_lines AS l
    WHERE l.store_id = p_order.store_id AND l.order_id = p_order.order_id
        AND l.product_id IS DISTINCT FROM p_product_id;
    IF p_product_id IS NOT NULL THEN
        v_products := v_products || p_product_id;
        v_quantities := v_quantities || p_quantity;
    END IF;

    SELECT h.result_code, h.document INTO result_code, document
    FROM hold_lines(p_order.store_id, 'order:' || p_order.order_id, 'order', v_products,
        v_quantities, order_lifetime(p_order.user_id, p_hold_seconds),
        make_interval(secs => p_max_seconds), p_actor) AS h;
END $$;

COMMENT ON FUNCTION hold_order IS
    'Hold exactly the lines of a locked order, one of them (if any is named) with another '
    'quantity, and let the hold live on. Codes: those of hold_lines.';
