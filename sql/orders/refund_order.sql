CREATE OR REPLACE FUNCTION refund_order(
    p_store_id text, p_order_id text, p_lines jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_order orders;
    v_wanted jsonb;
    v_refusal jsonb;
BEGIN
    -- Lock. The stock of all its lines, under which product_sales is kept, then the account.
    v_order := lock_order(p_store_id, p_order_id, NULL);
    result_code := refuse_order(p_store_id, v_order);
    IF v_order.status = 'paid' THEN
        PERFORM lock_order_stock(v_order, '{}');
        PERFORM FROM accounts
        WHERE store_id = p_store_id AND account_id = v_order.account_id FOR UPDATE;
    END IF;

    -- Check. What is named more than once is summed.
    SELECT jsonb_agg(to_jsonb(t) - 'left_over' ORDER BY t.product_id),
        jsonb_agg(to_jsonb(t) ORDER BY t.product_id)
            FILTER (WHERE t.left_over IS NULL OR t.quantity > t.left_over) -> 0
    INTO v_wanted, v_refusal
    FROM (
        SELECT n.product_id, n.quantity, n.restocked, l.price_at_purchase,
            l.quantity - l.refunded AS left_over
        FROM (
            SELECT w.product_id COLLATE "C" AS product_id, sum(w.quantity) AS quantity,
                COALESCE(sum(w.quantity) FILTER (WHERE w.restock), 0) AS restocked
            FROM jsonb_to_recordset(p_lines)
                AS w (product_id text, quantity bigint, restock boolean)
            GROUP BY 1
        ) AS n
        LEFT JOIN order_lines AS l ON l.store_id = p_store_id AND l.order_id = p_order_id
            AND l.product_id = n.product_id
    ) AS t;
    result_code := COALESCE(result_code, CASE
        WHEN v_order.status <> 'paid' THEN 'order_not_paid'
        WHEN v_wanted IS NULL OR jsonb_path_exists(p_lines, '$[*] ? (!(@.quantity >= 1))')
            THEN 'invalid_request'
        WHEN v_refusal IS NULL THEN 'ok'
        WHEN v_refusal -> 'left_over' = 'null' THEN 'unknown_line'
        ELSE 'refund_too_large' END);
    IF result_code <> 'ok' THEN
        document := CASE result_code
            WHEN 'order_not_paid' THEN jsonb_build_object('order_status', v_order.status)
            WHEN 'unknown_line' THEN v_refusal - '{left_over,price_at_purchase,restocked}'::text[]
            WHEN 'refund_too_large' THEN v_refusal - '{price_at_purchase,restocked}'::text[] END;
        RETURN;
    END IF;

    -- Write.
    document := write_refund(v_order, v_wanted, p_actor);
    PERFORM emit_event(p_store_id, 'order.refunded', document || jsonb_build_object(
        'refund', v_wanted));
END $$;

COMMENT ON FUNCTION refund_order IS
    'Give money back for units of the lines of a paid order, to the account that paid; those with '
    '"restock" come back into stock. p_lines: [{product_id, quantity, restock}]. Codes: ok, '
    'refund_too_large (document: of which line, and what is left of it), unknown_line, '
    'order_not_paid, unknown_order, unknown_store, invalid_request.';
