CREATE OR REPLACE FUNCTION order_documents(p_store_id text, p_order_ids text[])
RETURNS TABLE (id text, document jsonb)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- LATERAL looks each row up by its key, also while no statistics tell the planner to.
    RETURN QUERY
    SELECT n.id, jsonb_build_object(
        'order_id', n.id, 'number', o.number,
        'status', order_state(o.status, h.status, h.expires_at, v_now),
        'client', jsonb_build_object(
            'client_id', c.client_id, 'name', c.name, 'address', c.address),
        'lines', COALESCE(l.lines, '[]'), 'total', o.total, 'refunded_total', o.refunded_total,
        'version', o.version, 'created_at', rfc3339(o.created_at),
        'expires_at', CASE WHEN o.closed_at IS NULL THEN rfc3339(h.expires_at) END,
        'paid_at', rfc3339(o.paid_at),
        'paid_from', o.paid_from, 'reference', o.reference)
    FROM unnest(p_order_ids) AS n (id)
    CROSS JOIN LATERAL (
        SELECT * FROM orders AS q WHERE q.store_id = p_store_id AND q.order_id = n.id LIMIT 1
    ) AS o
    JOIN clients AS c ON c.store_id = p_store_id AND c.client_id = o.client_id
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('product_id', q.product_id, 'quantity', q.quantity,
            'price_at_purchase', q.price_at_purchase, 'refunded', q.refunded)
            ORDER BY q.product_id) AS lines
        FROM order_lines AS q WHERE q.store_id = p_store_id AND q.order_id = n.id
    ) AS l
    CROSS JOIN LATERAL (
        SELECT max(q.status) AS status, min(q.expires_at) AS expires_at FROM reservations AS q
        WHERE q.store_id = p_store_id AND q.reservation_id = 'order:' || n.id
    ) AS h;
END $$;

COMMENT ON FUNCTION order_documents IS
    'Orders with their lines, as callers see them, by id; in no order, and none where there is '
    'none.';
