CREATE OR REPLACE FUNCTION lapse_hold(p_store_id text, p_reservation_id text)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM set_change_context(NULL, 'expire', p_reservation_id);
    -- Under a clock that was behind, a line may hold still while others were reclaimed.
    WITH lapsed AS (
        UPDATE reservations SET status = 'expired', closed_at = LEAST(expires_at, v_now)
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND status = 'held'
        RETURNING product_id, quantity
    )
    UPDATE stock AS s SET reserved = s.reserved - l.quantity
    FROM lapsed AS l WHERE s.store_id = p_store_id AND s.product_id = l.product_id;
    UPDATE reservations SET closed_by = 'expiry'
    WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND closed_by IS NULL;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION lapse_hold IS
    'Write down that the hold of an order, locked with its stock, has lapsed.';
