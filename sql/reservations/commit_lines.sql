CREATE OR REPLACE FUNCTION commit_lines(p_store_id text, p_reservation_id text, p_actor text)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM set_change_context(p_actor, 'commit', p_reservation_id);
    WITH gone AS (
        UPDATE reservations AS r SET status = 'committed', price = p.price,
            closed_at = v_now, closed_by = COALESCE(p_actor, session_user)
        FROM products AS p
        WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
            AND r.status = 'held' AND p.store_id = r.store_id AND p.product_id = r.product_id
        RETURNING r.product_id, r.quantity
    )
    UPDATE stock AS s SET on_hand = s.on_hand - g.quantity, reserved = s.reserved - g.quantity
    FROM gone AS g WHERE s.store_id = p_store_id AND s.product_id = g.product_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION commit_lines IS
    'The goods of a held reservation, locked with its stock, leave: on_hand falls, the ledger says '
    'for what, and each line keeps the price of its product at that moment.';
