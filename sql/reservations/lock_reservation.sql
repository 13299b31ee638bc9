CREATE OR REPLACE FUNCTION lock_reservation(p_store_id text, p_reservation_id text)
RETURNS reservations LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_product_ids text[] := ARRAY(
        SELECT product_id FROM reservations
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id
    );
    v_line reservations;
    v_status reservation_status;
BEGIN
    -- Stock first, by product, then the reservation. Its lines never change (an order's only by
    -- whoever has the order), so they may be read before anything is locked; one made since then
    -- was not there when we came, and its stock is not ours.
    IF v_product_ids = '{}' THEN RETURN NULL; END IF;
    PERFORM lock_stock(p_store_id, v_product_ids);
    FOR v_line IN
        SELECT * FROM reservations
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id
        ORDER BY line DESC FOR UPDATE
    LOOP
        v_status := GREATEST(v_status, v_line.status);
    END LOOP;
    v_line.status := reservation_state(v_status, v_line.expires_at, clock_timestamp());
    RETURN v_line;
END $$;

COMMENT ON FUNCTION lock_reservation IS
    'Lock a reservation and the stock it holds, in the house''s one order. Its first line comes '
    'back with the state of the whole as its status, all null where there is none.';
