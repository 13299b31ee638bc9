CREATE OR REPLACE FUNCTION write_refund(p_order orders, p_wanted jsonb, p_actor text)
RETURNS jsonb LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_amount bigint;
    v_back record;
BEGIN
    PERFORM set_change_context(p_actor, 'refund', p_order.order_id);
    SELECT array_agg(w.product_id) AS ids, array_agg(w.quantity) AS units,
        array_agg(-w.quantity) AS fewer, array_agg(w.restocked) AS restocked,
        array_agg(-w.quantity::numeric * w.price_at_purchase) AS less,
        sum(w.quantity::numeric * w.price_at_purchase)::bigint AS amount
    INTO v_back
    FROM jsonb_to_recordset(p_wanted)
        AS w (product_id text, quantity bigint, restocked bigint, price_at_purchase bigint);
    v_amount := v_back.amount;

    INSERT INTO order_refunds (store_id, order_id, product_id, quantity, amount, is_restocked,
        made_by)
    SELECT p_order.store_id, p_order.order_id, w.product_id, p.quantity,
        p.quantity * w.price_at_purchase, p.is_restocked, COALESCE(p_actor, session_user)
    FROM jsonb_to_recordset(p_wanted)
        AS w (product_id text, quantity bigint, restocked bigint, price_at_purchase bigint)
    CROSS JOIN LATERAL (
        VALUES (w.restocked, true), (w.quantity - w.restocked, false)
    ) AS p (quantity, is_restocked)
    WHERE p.quantity > 0 ORDER BY w.product_id, p.is_restocked;
    UPDATE order_lines AS l SET refunded = l.refunded + n.units
    FROM unnest(v_back.ids, v_back.units) AS n (id, units)
    WHERE l.store_id = p_order.store_id AND l.order_id = p_order.order_id AND l.product_id = n.id;
    UPDATE orders SET refunded_total = refunded_total + v_amount, version = version + 1
    WHERE store_id = p_order.store_id AND order_id = p_order.order_id;
    PERFORM count_sales(
        p_order.store_id, p_order.paid_at, v_back.ids, v_back.fewer, v_back.less);
    UPDATE accounts SET balance = balance + v_amount
    WHERE store_id = p_order.store_id AND account_id = p_order.account_id AND v_amount > 0;

    PERFORM set_change_context(p_actor, 'return', 'order:' || p_order.order_id);
    UPDATE stock AS s SET on_hand = s.on_hand + n.units
    FROM unnest(v_back.ids, v_back.restocked) AS n (id, units)
    WHERE s.store_id = p_order.store_id AND s.product_id = n.id AND n.units > 0;
    PERFORM set_change_context(NULL);
    RETURN order_document(p_order.store_id, p_order.order_id);
END $$;

COMMENT ON FUNCTION write_refund IS
    'What refund_order has judged: money, sales, and restocked units of a locked order come back. '
    'Returns the order''s document.';
