CREATE OR REPLACE FUNCTION commit_order(
    p_order orders, p_account_id bigint, p_reference text, p_actor text
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_hold text := 'order:' || p_order.order_id;
    v_actor text := COALESCE(p_actor, session_user);
    v_now timestamptz := clock_timestamp();
    v_sold record;
BEGIN
    PERFORM set_change_context(p_actor, 'commit', v_hold);
    WITH gone AS (
        UPDATE reservations AS r SET status = 'committed', price = l.price_at_purchase,
            closed_at = v_now, closed_by = v_actor
        FROM order_lines AS l
        WHERE r.store_id = p_order.store_id AND r.reservation_id = v_hold AND r.status = 'held'
            AND l.store_id = r.store_id AND l.order_id = p_order.order_id
            AND l.product_id = r.product_id
        RETURNING r.store_id, r.product_id, r.quantity
    )
    UPDATE stock AS s SET on_hand = s.on_hand - g.quantity, reserved = s.reserved - g.quantity
    FROM gone AS g WHERE s.store_id = g.store_id AND s.product_id = g.product_id;

    PERFORM set_change_context(p_actor, 'order', p_order.order_id);
    UPDATE accounts SET balance = balance - p_order.total
    WHERE store_id = p_order.store_id AND account_id = p_account_id AND p_order.total > 0;
    UPDATE orders SET status = 'paid',
        paid_from = CASE WHEN p_account_id IS NULL THEN 'outside' ELSE 'account' END,
        account_id = p_account_id, reference = p_reference,
        paid_at = v_now, closed_at = v_now, closed_by = v_actor, version = version + 1
    WHERE store_id = p_order.store_id AND order_id = p_order.order_id;
    SELECT array_agg(l.product_id) AS ids, array_agg(l.quantity) AS units,
        array_agg(l.quantity::numeric * l.price_at_purchase) AS amounts
    INTO v_sold FROM order_lines AS l
    WHERE l.store_id = p_order.store_id AND l.order_id = p_order.order_id;
    PERFORM count_sales(p_order.store_id, v_now, v_sold.ids, v_sold.units, v_sold.amounts);
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION commit_order IS
    'What pay_order has judged: the goods of a locked order leave at the lines'' prices, the money '
    'leaves the account, if one pays, and the day''s sales count them.';
