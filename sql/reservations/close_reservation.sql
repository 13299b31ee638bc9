CREATE OR REPLACE FUNCTION close_reservation(
    p_store_id text, p_reservation_id text, p_status text
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    UPDATE reservation_lines SET held_until = NULL
    WHERE store_id = p_store_id AND reservation_id = p_reservation_id;
    UPDATE reservations SET status = p_status, closed_at = clock_timestamp()
    WHERE store_id = p_store_id AND reservation_id = p_reservation_id;
END $$;

COMMENT ON FUNCTION close_reservation IS
    'Write that a reservation, locked with its stock, is resolved and holds nothing any more.';
