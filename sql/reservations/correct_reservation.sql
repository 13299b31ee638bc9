CREATE OR REPLACE FUNCTION correct_reservation(
    p_store_id text, p_reservation_id text, p_status reservation_status, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_reservation reservations;
    v_short jsonb;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_reservation := lock_reservation(p_store_id, p_reservation_id);
    v_now := clock_timestamp();

    -- Check. Who takes anew what was given back needs as much to be there.
    SELECT jsonb_agg(jsonb_build_object('product_id', r.product_id, 'quantity', r.quantity,
        'available', s.on_hand - s.reserved) ORDER BY r.product_id)
    INTO v_short
    FROM reservations AS r
    JOIN stock AS s ON s.store_id = r.store_id AND s.product_id = r.product_id
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
        AND r.status IN ('released', 'expired') AND p_status <> 'released'
        AND s.on_hand - s.reserved < r.quantity;
    result_code := COALESCE(refuse_reservation(p_store_id, v_reservation), CASE
        WHEN COALESCE(p_actor, '') = '' OR COALESCE(p_status = 'expired', true)
            THEN 'invalid_request'
        WHEN v_short IS NOT NULL THEN 'insufficient_stock' ELSE 'ok' END);
    IF result_code <> 'ok' THEN
        document := refusal_document(result_code, true, v_short, NULL);
        RETURN;
    END IF;

    -- Write. Stock gets back what the old status took, and gives what the new one takes; ledger
    -- and audit_log say who did it.
    PERFORM set_change_context(p_actor, 'adjustment', p_reservation_id);
    UPDATE stock AS s SET
        on_hand = s.on_hand + r.quantity
            * ((r.status = 'committed')::int - (p_status = 'committed')::int),
        reserved = s.reserved + r.quantity * ((p_status = 'held')::int - (r.status = 'held')::int)
    FROM reservations AS r
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
        AND s.store_id = r.store_id AND s.product_id = r.product_id;
    UPDATE reservations AS r SET status = p_status,
        price = CASE p_status WHEN 'committed' THEN COALESCE(r.price, p.price) END,
        expires_at = CASE WHEN p_status <> 'held' OR r.expires_at > v_now THEN r.expires_at END,
        closed_at = CASE WHEN p_status <> 'held' THEN v_now END,
        closed_by = CASE WHEN p_status <> 'held' THEN p_actor END
    FROM products AS p
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
        AND r.status <> p_status AND p.store_id = r.store_id AND p.product_id = r.product_id;
    PERFORM set_change_context(NULL);
    document := reservation_document(p_store_id, p_reservation_id);
END $$;

COMMENT ON FUNCTION correct_reservation IS
    'Put right what became of a reservation, resolved or not: p_status held (for good, where its '
    'time is over), committed or released. Stock follows, the ledger has an adjustment for '
    'it, audit_log what was changed; p_actor must say who. For the owner: '
    'SELECT * FROM correct_reservation(''main'', ''1001'', ''released'', ''maria''); Codes: ok, '
    'insufficient_stock, held_by_order, unknown_reservation, unknown_store, invalid_request.';
