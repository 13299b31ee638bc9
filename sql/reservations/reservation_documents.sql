CREATE OR REPLACE FUNCTION reservation_documents(p_store_id text, p_reservation_ids text[])
RETURNS TABLE (id text, document jsonb)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT n.id, jsonb_build_object(
        'reservation_id', n.id, 'kind', r.kind, 'status', s.status, 'lines', r.lines,
        'timestamp', rfc3339(r.requested_at), 'created_at', rfc3339(r.created_at),
        'expires_at', rfc3339(r.expires_at),
        'closed_at', rfc3339(CASE s.status WHEN 'expired' THEN r.expires_at ELSE r.closed_at END))
    FROM (SELECT DISTINCT w.id COLLATE "C" AS id FROM unnest(p_reservation_ids) AS w (id)) AS n
    CROSS JOIN LATERAL (
        SELECT max(q.status) AS status, min(q.kind) AS kind, min(q.requested_at) AS requested_at,
            min(q.created_at) AS created_at, min(q.expires_at) AS expires_at,
            max(q.closed_at) AS closed_at, jsonb_agg(jsonb_build_object(
                'product_id', q.product_id, 'quantity', q.quantity) ORDER BY q.product_id) AS lines
        FROM reservations AS q WHERE q.store_id = p_store_id AND q.reservation_id = n.id
    ) AS r
    CROSS JOIN LATERAL (
        SELECT reservation_state(r.status, r.expires_at, v_now) AS status
    ) AS s
    WHERE r.lines IS NOT NULL;
END $$;

COMMENT ON FUNCTION reservation_documents IS
    'Reservations with their lines, as callers see them, by id; in no order, and none where there '
    'is none.';
