CREATE OR REPLACE FUNCTION commit_lines(p_store_id text, p_reservation_id text, p_actor text)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_lines smallint[];
    v_prices bigint[];
BEGIN
    SELECT array_agg(r.line), array_agg(p.price) INTO v_lines, v_prices
    FROM reservations AS r
    LEFT JOIN LATERAL (
        SELECT q.price FROM products AS q
        WHERE q.store_id = p_store_id AND q.product_id = r.product_id LIMIT 1
    ) AS p ON true
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id;

    PERFORM set_change_context(p_actor, 'commit', p_reservation_id);
    WITH gone AS (
        UPDATE reservations SET status = 'committed', closed_at = v_now,
            price = v_prices[array_position(v_lines, line)],
            closed_by = COALESCE(p_actor, session_user)
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND status = 'held'
        RETURNING product_id, quantity
    )
    UPDATE stock AS s SET on_hand = s.on_hand - g.quantity, reserved = s.reserved - g.quantity
    FROM gone AS g WHERE s.store_id = p_store_id AND s.product_id = g.product_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION commit_lines IS
    'The goods of a held reservation, locked with its stock, leave: on_hand falls, the ledger says '
    'for what, and each line keeps the price of its product at that moment.';
