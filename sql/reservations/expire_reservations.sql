CREATE OR REPLACE FUNCTION expire_reservations(
    p_store_id text, p_limit int DEFAULT 1000, OUT result_code text, OUT expired_count int
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_reservation_ids text[] := ARRAY(
        SELECT reservation_id FROM reservations
        WHERE store_id = p_store_id AND status = 'held' AND expires_at <= v_now
        ORDER BY expires_at LIMIT p_limit
    );
BEGIN
    -- Lock. Taking the stock reclaims the lines.
    PERFORM lock_stock(p_store_id, ARRAY(
        SELECT DISTINCT product_id FROM reservation_lines
        WHERE store_id = p_store_id AND reservation_id = ANY (v_reservation_ids)
    ));
    PERFORM FROM reservations
    WHERE store_id = p_store_id AND reservation_id = ANY (v_reservation_ids)
    ORDER BY reservation_id FOR UPDATE;

    -- Write. Others may have been quicker: only what still reads held has expired. By the clock
    -- from before the lock: what lapses later is not reclaimed yet.
    UPDATE reservations SET status = 'expired', closed_at = expires_at
    WHERE store_id = p_store_id AND reservation_id = ANY (v_reservation_ids)
        AND status = 'held' AND expires_at <= v_now;
    GET DIAGNOSTICS expired_count = ROW_COUNT;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION expire_reservations IS
    'Bookkeeping: write down that up to p_limit holds of a store have lapsed, oldest first. '
    'Nobody waits for it: whoever needs their units takes them back at once.';
