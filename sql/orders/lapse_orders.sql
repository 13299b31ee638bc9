CREATE OR REPLACE FUNCTION lapse_orders(
    p_store_id text, p_limit int DEFAULT 1000, OUT result_code text, OUT lapsed_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- Key look-ups, whatever the statistics.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_ids text[] := ARRAY(
        SELECT substr(r.reservation_id, 7) FROM reservations AS r
        WHERE r.store_id = p_store_id AND r.kind = 'order'
            AND r.closed_by IS NULL AND r.expires_at IS NOT NULL AND r.expires_at <= v_now
        ORDER BY r.expires_at LIMIT p_limit
    );
    v_orders text[];
    v_products text[];
    v_id text;
    v_order orders;
BEGIN
    -- Lock. All orders by id, then all their stock by product; those that are in use can wait.
    lapsed_count := 0;
    result_code := 'ok';
    v_orders := ARRAY(
        SELECT o.order_id::text FROM orders AS o
        WHERE o.store_id = p_store_id AND o.order_id = ANY (v_ids) AND o.closed_at IS NULL
        ORDER BY o.order_id FOR UPDATE SKIP LOCKED
    );
    SELECT array_agg(DISTINCT p.product_id) INTO v_products
    FROM unnest(v_orders) AS n (id)
    CROSS JOIN LATERAL (
        SELECT r.product_id FROM reservations AS r
        WHERE r.store_id = p_store_id AND r.reservation_id = 'order:' || n.id
        UNION ALL
        SELECT l.product_id FROM order_lines AS l
        WHERE l.store_id = p_store_id AND l.order_id = n.id
    ) AS p;
    PERFORM lock_stock(p_store_id, v_products);

    -- Write. Others may have been quicker, and taken one up again.
    FOREACH v_id IN ARRAY v_orders LOOP
        SELECT * INTO v_order FROM orders AS o
        WHERE o.store_id = p_store_id AND o.order_id = v_id;
        IF lock_order_stock(v_order, '{}') = 'expired' THEN
            PERFORM lapse_hold(p_store_id, 'order:' || v_id);
            lapsed_count := lapsed_count + 1;
            IF v_order.status = 'open' THEN
                PERFORM set_change_context(NULL, 'order', v_id);
                UPDATE orders SET status = 'expired', version = version + 1
                WHERE store_id = p_store_id AND order_id = v_id;
                PERFORM set_change_context(NULL);
                PERFORM emit_event(
                    p_store_id, 'order.expired', order_document(p_store_id, v_id));
            END IF;
        END IF;
    END LOOP;
END $$;

COMMENT ON FUNCTION lapse_orders IS
    'Bookkeeping: write down that open orders of a store have expired, up to p_limit lines, and '
    'tell. Nobody waits for it: whoever needs their units takes them back at once. Code: ok.';
