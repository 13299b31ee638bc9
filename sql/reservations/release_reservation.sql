CREATE OR REPLACE FUNCTION release_reservation(
    p_store_id text, p_reservation_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_reservation reservations;
BEGIN
    -- Lock.
    v_reservation := lock_reservation(p_store_id, p_reservation_id);

    -- Check.
    result_code := COALESCE(refuse_reservation(p_store_id, v_reservation), CASE
        WHEN v_reservation.status = 'held' THEN 'ok'
        WHEN v_reservation.status = 'released' THEN 'already_released'
        ELSE 'reservation_closed' END);

    -- Write.
    IF result_code = 'ok' THEN
        UPDATE stock AS s SET reserved = s.reserved - l.quantity
        FROM reservation_lines AS l
        WHERE l.store_id = p_store_id AND l.reservation_id = p_reservation_id
            AND s.store_id = l.store_id AND s.product_id = l.product_id;
        PERFORM close_reservation(p_store_id, p_reservation_id, 'released');
    END IF;
    document := reservation_document(p_store_id, p_reservation_id);
END $$;

COMMENT ON FUNCTION release_reservation IS
    'Give the units of a held reservation back to stock, exactly once. Codes: ok, '
    'already_released, reservation_closed, held_by_order, unknown_reservation, unknown_store.';
