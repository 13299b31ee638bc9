CREATE OR REPLACE FUNCTION expire_reservations(
    p_store_id text, p_limit int DEFAULT 1000, OUT result_code text, OUT expired_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
-- Key look-ups, whatever the statistics.
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_ids text[] := ARRAY(
        SELECT reservation_id FROM reservations
        WHERE store_id = p_store_id AND kind <> 'order'
            AND closed_by IS NULL AND expires_at IS NOT NULL AND expires_at <= v_now
        ORDER BY expires_at LIMIT p_limit
    );
    v_product_ids text[];
    v_swept text[];
BEGIN
    -- Lock. Taking the stock reclaims the lines.
    SELECT array_agg(DISTINCT r.product_id) INTO v_product_ids
    FROM unnest(v_ids) AS n (id)
    JOIN reservations AS r ON r.store_id = p_store_id AND r.reservation_id = n.id;
    PERFORM lock_stock(p_store_id, v_product_ids);

    -- Write. Others may have been quicker, or may have extended it: whatever has expired, and is
    -- not written down, is so now.
    PERFORM set_config('holdfast.reason', 'expire', true);
    WITH swept AS (
        UPDATE reservations AS r SET closed_by = 'expiry' FROM unnest(v_ids) AS n (id)
        WHERE r.store_id = p_store_id AND r.reservation_id = n.id
            AND r.status = 'expired' AND r.closed_by IS NULL
        RETURNING r.reservation_id, r.line
    )
    SELECT array_agg(reservation_id) FILTER (WHERE line = 1) INTO v_swept FROM swept;
    PERFORM set_config('holdfast.reason', '', true);
    PERFORM emit_events(p_store_id, 'reservation.expired', ARRAY(
        SELECT d.document FROM reservation_documents(p_store_id, v_swept) AS d ORDER BY d.id
    ));
    expired_count := COALESCE(cardinality(v_swept), 0);
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION expire_reservations IS
    'Bookkeeping: write down that holds of a store have lapsed, up to p_limit lines, oldest '
    'first; orders'' holds lapse with their orders. Nobody waits for it: whoever needs their units '
    'takes them back at once. Webhooks are told (reservation.expired). expired_count: how many '
    'reservations.';
