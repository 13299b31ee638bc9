CREATE OR REPLACE FUNCTION lock_reservation(p_store_id text, p_reservation_id text)
RETURNS reservations LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_product_ids text[] := ARRAY(
        SELECT product_id FROM reservation_lines
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id
    );
    v_reservation reservations;
BEGIN
    -- Stock first, by product, then the reservation. Its lines never change, so they may be read
    -- before anything is locked; one made since then was not there when we came, and its stock
    -- is not ours.
    PERFORM lock_stock(p_store_id, v_product_ids);
    SELECT * INTO v_reservation FROM reservations
    WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND v_product_ids <> '{}'
    FOR UPDATE;

    -- A hold past its time has lapsed, whether or not the sweeper has written that down; what was
    -- given back stays so, also where a clock that is behind has taken over.
    IF v_reservation.status = 'held' AND (v_reservation.expires_at <= clock_timestamp() OR EXISTS (
        SELECT FROM reservation_lines
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND held_until IS NULL
    )) THEN
        v_reservation.status := 'expired';
    END IF;
    RETURN v_reservation;
END $$;

COMMENT ON FUNCTION lock_reservation IS
    'Lock a reservation and the stock it holds, in the house''s one order. The row comes back with '
    'status "expired" once its time is over, all null where there is none.';
