CREATE OR REPLACE FUNCTION reservation_document(p_store_id text, p_reservation_id text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'reservation_id', r.reservation_id,
            'kind', r.kind,
            'status', s.status,
            'lines', (
                SELECT jsonb_agg(jsonb_build_object(
                    'product_id', l.product_id, 'quantity', l.quantity) ORDER BY l.product_id)
                FROM reservation_lines AS l
                WHERE l.store_id = r.store_id AND l.reservation_id = r.reservation_id
            ),
            'timestamp', rfc3339(r.requested_at),
            'created_at', rfc3339(r.created_at),
            'expires_at', rfc3339(r.expires_at),
            'closed_at', rfc3339(CASE s.status WHEN r.status THEN r.closed_at ELSE r.expires_at END)
        )
        FROM reservations AS r
        CROSS JOIN LATERAL (SELECT CASE
            WHEN r.status = 'held' AND r.expires_at <= clock_timestamp() THEN 'expired'
            ELSE r.status END AS status) AS s
        WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
    );
END $$;

COMMENT ON FUNCTION reservation_document IS
    'A reservation with its lines, as callers see it; null where there is none.';
