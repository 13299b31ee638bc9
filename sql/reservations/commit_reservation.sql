CREATE OR REPLACE FUNCTION commit_reservation(
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
        WHEN v_reservation.status = 'committed' THEN 'already_committed'
        ELSE 'reservation_closed' END);

    -- Write. The goods leave: what was promised is no longer on hand.
    IF result_code = 'ok' THEN
        PERFORM set_change_context(NULL, 'commit', p_reservation_id);
        UPDATE stock AS s
        SET on_hand = s.on_hand - l.quantity, reserved = s.reserved - l.quantity
        FROM reservation_lines AS l
        WHERE l.store_id = p_store_id AND l.reservation_id = p_reservation_id
            AND s.store_id = l.store_id AND s.product_id = l.product_id;
        PERFORM set_change_context(NULL);
        PERFORM close_reservation(p_store_id, p_reservation_id, 'committed');
    END IF;
    document := reservation_document(p_store_id, p_reservation_id);
END $$;

COMMENT ON FUNCTION commit_reservation IS
    'The goods of a held reservation leave the store, exactly once: on_hand falls, and the ledger '
    'says for which reservation. Codes: ok, already_committed, reservation_closed, held_by_order, '
    'unknown_reservation, unknown_store.';
