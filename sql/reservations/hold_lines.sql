CREATE OR REPLACE FUNCTION hold_lines(
    p_store_id text, p_reservation_id text, p_kind reservation_kind,
    p_product_ids text[], p_quantities bigint[], p_ttl interval, p_max_lifetime interval,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_to_lock text[] := ARRAY(
        -- A hold that can lapse is locked whole, or somebody could reclaim a line meanwhile.
        SELECT product_id::text FROM reservations
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id
            AND (p_ttl IS NOT NULL OR expires_at IS NOT NULL)
    );
    v_state reservation_status;
    v_short jsonb;
    v_line_count int;
    v_products text[];
    v_quantities bigint[];
    v_deltas bigint[];
BEGIN
    -- Lock. Nobody else changes the lines: the caller has locked what they belong to.
    PERFORM lock_stock(p_store_id, v_to_lock || p_product_ids);
    SELECT reservation_state(max(status), min(expires_at), clock_timestamp()) INTO v_state
    FROM reservations WHERE store_id = p_store_id AND reservation_id = p_reservation_id;

    -- Check. What is named is set; the rest stays while it is held.
    SELECT array_agg(t.product_id), array_agg(t.quantity), array_agg(t.quantity - t.held),
        (count(*) FILTER (WHERE t.quantity > 0))::int,
        jsonb_agg(jsonb_build_object('product_id', t.product_id, 'quantity', t.quantity,
            'available', s.available + t.held) ORDER BY t.product_id)
        FILTER (WHERE s.available IS NULL OR t.quantity - t.held > s.available)
    INTO v_products, v_quantities, v_deltas, v_line_count, v_short
    FROM (
        SELECT product_id, CASE r.status WHEN 'held' THEN r.quantity ELSE 0 END AS held,
            COALESCE(n.quantity, CASE v_state WHEN 'held' THEN r.quantity ELSE 0 END) AS quantity
        FROM (
            SELECT q.product_id, q.quantity, q.status FROM reservations AS q
            WHERE q.store_id = p_store_id AND q.reservation_id = p_reservation_id
        ) AS r
        FULL JOIN (
            SELECT w.product_id COLLATE "C" AS product_id, sum(w.quantity)::bigint AS quantity
            FROM unnest(p_product_ids, p_quantities) AS w (product_id, quantity) GROUP BY 1
        ) AS n USING (product_id)
    ) AS t
    LEFT JOIN LATERAL (
        SELECT k.on_hand - k.reserved AS available FROM stock AS k
        WHERE k.store_id = p_store_id AND k.product_id = t.product_id LIMIT 1
    ) AS s ON true;
    result_code := CASE
        WHEN v_state IN ('committed', 'released') THEN 'reservation_closed'
        WHEN v_line_count > 100 OR 0 > ANY (v_quantities) THEN 'invalid_request'
        WHEN jsonb_path_exists(v_short, '$[*] ? (@.available == null)') THEN 'unknown_product'
        WHEN v_short IS NOT NULL THEN 'insufficient_stock'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN
        document := refusal_document(result_code, true, v_short, NULL);
        RETURN;
    END IF;

    -- Write.
    PERFORM write_lines(p_store_id, p_reservation_id, p_kind, v_products, v_quantities, v_deltas,
        p_ttl, p_max_lifetime, COALESCE(v_state, 'expired') = 'expired', p_actor);
END $$;

COMMENT ON FUNCTION hold_lines IS
    'For who alone may change a hold, as an order changes its own, under its lock: set the lines '
    'of the products named (0: none), all or nothing; other lines stay, and one that has expired '
    'is taken anew with the lines named alone. It lapses p_ttl from now (null: never), not earlier '
    'than it did, at most p_max_lifetime after it was taken. Codes: ok, insufficient_stock and '
    'unknown_product (document: the first line in the way, and all as "lines", with what this hold '
    'could have), reservation_closed, invalid_request (over 100 lines, or below 0).';
