CREATE OR REPLACE FUNCTION lock_booking(
    p_store_id text, p_booking_id bigint, p_table_id bigint DEFAULT NULL
) RETURNS bookings LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_table_id bigint;
    v_booking bookings;
BEGIN
    SELECT b.table_id INTO v_table_id FROM bookings AS b
    WHERE b.store_id = p_store_id AND b.booking_id = p_booking_id;
    PERFORM FROM dining_tables AS t
    WHERE t.store_id = p_store_id AND t.table_id IN (v_table_id, p_table_id)
    ORDER BY t.table_id FOR NO KEY UPDATE;

    SELECT * INTO v_booking FROM bookings AS b
    WHERE b.store_id = p_store_id AND b.booking_id = p_booking_id FOR UPDATE;
    IF v_booking.table_id <> v_table_id THEN
        RAISE EXCEPTION 'Booking % has been moved meanwhile', p_booking_id USING
            ERRCODE = 'serialization_failure', HINT = 'Call again.';
    END IF;
    RETURN v_booking;
END $$;

COMMENT ON FUNCTION lock_booking IS
    'Lock a booking after its table (and one more, where it is to be moved), tables by id: the '
    'house''s one order. Null where there is no such booking.';
