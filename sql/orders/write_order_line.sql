CREATE OR REPLACE FUNCTION write_order_line(
    p_order orders, p_product_id text, p_quantity bigint, p_price bigint, p_status text,
    p_actor text
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_total bigint;
BEGIN
    PERFORM set_change_context(p_actor, 'order', p_order.order_id);
    IF p_quantity > 0 THEN
        INSERT INTO order_lines AS l (store_id, order_id, product_id, quantity, price_at_purchase)
        VALUES (p_order.store_id, p_order.order_id, p_product_id, p_quantity, p_price)
        ON CONFLICT (store_id, order_id, product_id) DO UPDATE SET quantity = EXCLUDED.quantity;
    ELSIF p_product_id IS NOT NULL THEN
        DELETE FROM order_lines
        WHERE store_id = p_order.store_id AND order_id = p_order.order_id
            AND product_id = p_product_id;
    END IF;
    -- A total that is no bigint ends here (SQLSTATE 22003), and nothing was done.
    SELECT COALESCE(sum(l.quantity::numeric * l.price_at_purchase), 0)::bigint INTO v_total
    FROM order_lines AS l
    WHERE l.store_id = p_order.store_id AND l.order_id = p_order.order_id;
    UPDATE orders SET total = v_total, status = p_status, version = version + 1
    WHERE store_id = p_order.store_id AND order_id = p_order.order_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION write_order_line IS
    'Set the units of a line of a locked order (0: without it; a line keeps its first price), its '
    'total and its status.';
