CREATE OR REPLACE FUNCTION reservation_status(
    p_store_id text, p_reservation_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT CASE WHEN count(*) = 1 THEN 'ok' ELSE 'several_lines' END,
        jsonb_build_object(
            'reservation_id', r.reservation_id,
            'product_id', min(l.product_id),
            'quantity', min(l.quantity),
            'status', s.status,
            'timestamp', rfc3339(r.requested_at),
            'created_at', rfc3339(r.created_at),
            'expires_at', rfc3339(r.expires_at),
            'closed_at', rfc3339(CASE s.status WHEN r.status THEN r.closed_at ELSE r.expires_at END)
        )
    INTO result_code, document
    FROM reservations AS r
    CROSS JOIN LATERAL (SELECT CASE WHEN r.status = 'held' AND r.expires_at <= clock_timestamp()
        THEN 'expired' ELSE r.status END AS status) AS s
    JOIN reservation_lines AS l USING (store_id, reservation_id)
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
    GROUP BY r.store_id, r.reservation_id, s.status;

    result_code := COALESCE(result_code, CASE
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_reservation'
        ELSE 'unknown_store' END);
    IF result_code <> 'ok' THEN document := NULL; END IF;
END $$;

COMMENT ON FUNCTION reservation_status IS
    'What became of a reservation of one line. Codes: ok, unknown_reservation, unknown_store, '
    'several_lines (a reservation of more than one line). A hold past its time reads expired.';
