CREATE OR REPLACE FUNCTION list_orders(
    p_store_id text, p_user_id bigint, p_status text, p_client text, p_after bigint, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
-- Planned each time for what is asked: a generic plan reads all orders, whatever index there is.
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_statuses text[] := ARRAY[p_status, CASE p_status WHEN 'expired' THEN 'open' END];
    v_now timestamptz := clock_timestamp();
    v_found record;
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT array_agg(f.order_id) AS ids, CASE WHEN count(*) = p_limit THEN max(f.number) END AS next
    INTO v_found
    FROM (
        SELECT o.order_id, o.number FROM orders AS o
        CROSS JOIN LATERAL (
            SELECT max(r.status) AS status, min(r.expires_at) AS expires_at
            FROM reservations AS r
            WHERE r.store_id = o.store_id AND r.reservation_id = 'order:' || o.order_id
        ) AS h
        WHERE o.store_id = p_store_id AND o.number > COALESCE(p_after, 0)
            AND (p_user_id IS NULL OR o.user_id = p_user_id)
            AND (p_client IS NULL OR o.client_id IN (
                SELECT c.client_id FROM clients AS c
                WHERE c.store_id = p_store_id AND c.name = p_client))
            AND (p_status IS NULL OR o.status = ANY (v_statuses)
                AND p_status = order_state(o.status, h.status, h.expires_at, v_now))
        ORDER BY o.number LIMIT p_limit
    ) AS f;
    SELECT jsonb_build_object('orders', COALESCE(jsonb_agg(d.document
        ORDER BY (d.document ->> 'number')::bigint), '[]'), 'next', v_found.next)
    INTO document FROM order_documents(p_store_id, v_found.ids) AS d;
END $$;

COMMENT ON FUNCTION list_orders IS
    'Orders by number, at most p_limit after p_after: of one user, in one state, of clients of one '
    'name, where those are not null; next is the p_after of the page that follows, or null. Codes: '
    'ok, unknown_store.';
