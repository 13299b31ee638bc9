CREATE OR REPLACE FUNCTION list_reservations(
    p_store_id text, p_status text, p_product_id text, p_after text, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'reservations', COALESCE(
            jsonb_agg(reservation_document(p_store_id, r.reservation_id) ORDER BY r.reservation_id),
            '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(r.reservation_id) END)
    INTO document
    FROM (
        SELECT r.reservation_id FROM reservations AS r
        WHERE r.store_id = p_store_id
            AND r.reservation_id > COALESCE(p_after, '') COLLATE "C"
            AND (p_status IS NULL OR p_status = CASE
                WHEN r.status = 'held' AND r.expires_at <= clock_timestamp() THEN 'expired'
                ELSE r.status END)
            AND (p_product_id IS NULL OR EXISTS (
                SELECT FROM reservation_lines AS l
                WHERE l.store_id = p_store_id AND l.product_id = p_product_id
                    AND l.reservation_id = r.reservation_id))
        ORDER BY r.reservation_id LIMIT p_limit
    ) AS r;
END $$;

COMMENT ON FUNCTION list_reservations IS
    'Reservations of a store by id, at most p_limit after p_after, of one status and with one '
    'product where those are not null; next is the p_after of the page that follows, or null. '
    'Codes: ok, unknown_store.';
