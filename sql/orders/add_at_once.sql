CREATE OR REPLACE FUNCTION add_at_once(
    p_order orders, p_product_id text, p_quantity bigint, p_actor text,
    OUT quantity bigint, OUT price bigint
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_hold_id text := 'order:' || p_order.order_id;
    v_now timestamptz := clock_timestamp();
    v_hold record;
    v_line record;
BEGIN
    -- Check. Nobody else changes lines of a locked order, nor can a hold without an end lapse.
    SELECT count(*) AS line_count,
        count(*) FILTER (WHERE r.status = 'held' AND r.expires_at IS NULL) AS kept_count,
        COALESCE(max(r.line), 0) AS last,
        max(r.line) FILTER (WHERE r.product_id = p_product_id) AS line,
        min(r.created_at) AS made_at, min(r.made_by) AS made_by
    INTO v_hold
    FROM reservations AS r
    WHERE r.store_id = p_order.store_id AND r.reservation_id = v_hold_id;
    SELECT p.price, l.quantity, l.price_at_purchase INTO v_line
    FROM products AS p
    LEFT JOIN order_lines AS l ON l.store_id = p.store_id AND l.order_id = p_order.order_id
        AND l.product_id = p.product_id
    WHERE p.store_id = p_order.store_id AND p.product_id = p_product_id
        AND p.is_active AND p.price IS NOT NULL;
    IF NOT FOUND OR p_order.status <> 'open' OR v_hold.kept_count <> v_hold.line_count
        OR v_hold.line IS NULL AND (v_hold.last <> v_hold.line_count OR v_hold.last >= 100)
        OR NOT COALESCE(p_quantity BETWEEN 1 AND 2147483647, false) THEN RETURN; END IF;

    -- Write. The one row of stock is locked and changed in one go, where there is enough.
    UPDATE stock AS s SET reserved = s.reserved + p_quantity
    WHERE s.store_id = p_order.store_id AND s.product_id = p_product_id
        AND s.reserved + p_quantity <= s.on_hand;
    IF NOT FOUND THEN RETURN; END IF;
    quantity := COALESCE(v_line.quantity, 0) + p_quantity;
    price := COALESCE(v_line.price_at_purchase, v_line.price);
    PERFORM set_change_context(p_actor, 'order', p_order.order_id);
    IF v_hold.line IS NULL THEN
        INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,
            created_at, made_by)
        VALUES (p_order.store_id, v_hold_id, v_hold.last + 1, 'order', p_product_id, p_quantity,
            COALESCE(v_hold.made_at, v_now), COALESCE(v_hold.made_by, p_actor, session_user));
        INSERT INTO order_lines (store_id, order_id, product_id, quantity, price_at_purchase)
        VALUES (p_order.store_id, p_order.order_id, p_product_id, p_quantity, price);
    ELSE
        UPDATE reservations AS r SET quantity = r.quantity + p_quantity
        WHERE r.store_id = p_order.store_id AND r.reservation_id = v_hold_id
            AND r.line = v_hold.line;
        UPDATE order_lines AS l SET quantity = l.quantity + p_quantity
        WHERE l.store_id = p_order.store_id AND l.order_id = p_order.order_id
            AND l.product_id = p_product_id;
    END IF;
    -- A total that is no bigint ends here (SQLSTATE 22003), and nothing was done.
    UPDATE orders AS o SET total = o.total + p_quantity * price, version = o.version + 1
    WHERE o.store_id = p_order.store_id AND o.order_id = p_order.order_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION add_at_once IS
    'Add units to a locked open order whose hold never lapses, where there is enough; else nothing '
    'is done and quantity is null: all that has to be judged is. quantity and price: the line''s.';
