CREATE OR REPLACE FUNCTION lock_order_stock(p_order orders, p_product_ids text[])
RETURNS text LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_products text[] := p_product_ids || ARRAY(
        SELECT l.product_id::text FROM order_lines AS l
        WHERE l.store_id = p_order.store_id AND l.order_id = p_order.order_id
    ) || ARRAY(
        SELECT r.product_id::text FROM reservations AS r
        WHERE r.store_id = p_order.store_id AND r.reservation_id = 'order:' || p_order.order_id
    );
    v_hold record;
BEGIN
    PERFORM lock_stock(p_order.store_id, v_products);
    SELECT max(r.status) AS status, min(r.expires_at) AS expires_at INTO v_hold
    FROM reservations AS r
    WHERE r.store_id = p_order.store_id AND r.reservation_id = 'order:' || p_order.order_id;
    RETURN order_state(p_order.status, v_hold.status, v_hold.expires_at, clock_timestamp());
END $$;

COMMENT ON FUNCTION lock_order_stock IS
    'Lock the stock of all products of a locked order, of its hold, and of those named. Returns '
    'the state that the order is in: nobody can take its units any more.';
