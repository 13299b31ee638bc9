CREATE OR REPLACE FUNCTION latest_orders(
    p_store_id text, p_user_id bigint, p_status text, p_client text, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
-- As list_orders.
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_statuses text[] := ARRAY[p_status, CASE p_status WHEN 'expired' THEN 'open' END];
    v_now timestamptz := clock_timestamp();
    v_ids text[];
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    v_ids := ARRAY(
        SELECT o.order_id FROM orders AS o
        CROSS JOIN LATERAL (
            SELECT max(r.status) AS status, min(r.expires_at) AS expires_at
            FROM reservations AS r
            WHERE r.store_id = o.store_id AND r.reservation_id = 'order:' || o.order_id
        ) AS h
        WHERE o.store_id = p_store_id
            AND (p_user_id IS NULL OR o.user_id = p_user_id)
            AND (p_client IS NULL OR o.client_id IN (
                SELECT c.client_id FROM clients AS c
                WHERE c.store_id = p_store_id AND c.name = p_client))
            AND (p_status IS NULL OR o.status = ANY (v_statuses)
                AND p_status = order_state(o.status, h.status, h.expires_at, v_now))
        ORDER BY o.number DESC LIMIT p_limit
    );
    SELECT jsonb_build_object('orders', COALESCE(jsonb_agg(d.document
        ORDER BY (d.document ->> 'number')::bigint DESC), '[]'), 'next', NULL)
    INTO document FROM order_documents(p_store_id, v_ids) AS d;
END $$;

COMMENT ON FUNCTION latest_orders IS
    'The latest orders, the newest first, at most p_limit: of one user, in one state, of clients '
    'of one name, where those are not null. next is null: it is no page. Codes: ok, unknown_store.';
