CREATE OR REPLACE FUNCTION add_to_order(
    p_store_id text, p_order_id text, p_product_id text, p_quantity bigint, p_user_id bigint,
    p_hold_seconds int, p_max_seconds int, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- Key look-ups, whatever the statistics.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_order orders;
    v_line order_lines;
    v_product products;
    v_quantity bigint;
    v_price bigint;
BEGIN
    -- Lock. The order first, because its lines say which stock comes next.
    v_order := lock_order(p_store_id, p_order_id, p_user_id);
    result_code := refuse_order(p_store_id, v_order);
    IF v_order.status = 'open' AND order_lifetime(v_order.user_id, p_hold_seconds) IS NULL THEN
        SELECT a.quantity, a.price INTO v_quantity, v_price
        FROM add_at_once(v_order, p_product_id, p_quantity, p_actor) AS a;
        IF v_quantity IS NOT NULL THEN
            result_code := 'created';
            document := jsonb_build_object('order_id', p_order_id, 'product_id', p_product_id,
                'quantity', v_quantity, 'price_at_purchase', v_price);
            RETURN;
        END IF;
    END IF;

    -- Check.
    SELECT * INTO v_product FROM products
    WHERE store_id = p_store_id AND product_id = p_product_id AND is_active;
    SELECT * INTO v_line FROM order_lines
    WHERE store_id = p_store_id AND order_id = p_order_id AND product_id = p_product_id;
    v_price := COALESCE(v_line.price_at_purchase, v_product.price);
    result_code := COALESCE(result_code, CASE
        WHEN NOT COALESCE(p_quantity BETWEEN 1 AND 2147483647, false) THEN 'invalid_request'
        WHEN v_order.closed_at IS NOT NULL THEN 'order_closed'
        WHEN v_product.product_id IS NULL THEN 'unknown_product'
        WHEN v_product.price IS NULL THEN 'not_for_sale' END);
    IF result_code IS NULL THEN
        v_quantity := COALESCE(v_line.quantity, 0) + p_quantity;
        SELECT h.result_code, h.document INTO result_code, document
        FROM hold_order(v_order, p_product_id, v_quantity, p_hold_seconds, p_max_seconds,
            p_actor) AS h;
    END IF;
    IF result_code <> 'ok' THEN
        IF result_code = 'order_closed' THEN
            document := jsonb_build_object('order_status', v_order.status);
        END IF;
        RETURN;
    END IF;

    -- Write. What the hold took stays only if this does.
    PERFORM write_order_line(v_order, p_product_id, v_quantity, v_price, 'open', p_actor);
    result_code := 'created';
    document := jsonb_build_object('order_id', p_order_id, 'product_id', p_product_id,
        'quantity', v_quantity, 'price_at_purchase', v_price);
END $$;

COMMENT ON FUNCTION add_to_order IS
    'Add units of a product to an order and hold them: a new line, or an existing one grows. Where '
    'the hold has expired, the whole of it is taken anew. Codes: created, insufficient_stock '
    '(document: all that is short), not_for_sale (it has no price), unknown_product, order_closed '
    '(paid or cancelled), unknown_order, unknown_store, reservation_closed (its hold was ended by '
    'hand), invalid_request (over 100 lines, too).';
