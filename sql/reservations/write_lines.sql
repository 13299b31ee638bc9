CREATE OR REPLACE FUNCTION write_lines(
    p_store_id text, p_reservation_id text, p_kind reservation_kind,
    p_product_ids text[], p_quantities bigint[], p_deltas bigint[],
    p_ttl interval, p_max_lifetime interval, p_is_anew boolean, p_actor text
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_made_at timestamptz := v_now;
    v_made_by text := COALESCE(p_actor, session_user);
    v_before timestamptz;
    v_expires_at timestamptz;
    v_first smallint;
BEGIN
    IF NOT p_is_anew THEN
        SELECT created_at, made_by, expires_at INTO v_made_at, v_made_by, v_before
        FROM reservations
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND line = 1;
    END IF;
    v_expires_at := CASE WHEN p_ttl IS NOT NULL THEN
        GREATEST(v_before, LEAST(v_now + p_ttl, v_made_at + p_max_lifetime)) END;

    PERFORM set_change_context(p_actor, 'reserve', p_reservation_id);
    DELETE FROM reservations AS r USING unnest(p_product_ids, p_quantities) AS n (id, quantity)
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id
        AND r.product_id = n.id AND n.quantity = 0;
    UPDATE reservations AS r SET quantity = n.quantity, status = 'held', expires_at = v_expires_at,
        created_at = v_made_at, made_by = v_made_by, closed_at = NULL, closed_by = NULL
    FROM unnest(p_product_ids, p_quantities) AS n (id, quantity)
    WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_id AND r.product_id = n.id
        AND (r.quantity, r.status, r.created_at, r.expires_at)
            IS DISTINCT FROM (n.quantity, 'held', v_made_at, v_expires_at);

    -- New lines take the lowest numbers that are free, and there is always a line 1.
    INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,
        created_at, expires_at, made_by)
    SELECT p_store_id, p_reservation_id, f.line, p_kind, n.product_id, n.quantity,
        v_made_at, v_expires_at, v_made_by
    FROM (
        SELECT w.id AS product_id, w.quantity, row_number() OVER (ORDER BY w.number) AS place
        FROM unnest(p_product_ids, p_quantities) WITH ORDINALITY AS w (id, quantity, number)
        LEFT JOIN reservations AS r ON r.store_id = p_store_id
            AND r.reservation_id = p_reservation_id AND r.product_id = w.id
        WHERE w.quantity > 0 AND r.line IS NULL
    ) AS n
    JOIN (
        SELECT g.line, row_number() OVER (ORDER BY g.line) AS place
        FROM generate_series(1, 100) AS g (line)
        LEFT JOIN reservations AS r ON r.store_id = p_store_id
            AND r.reservation_id = p_reservation_id AND r.line = g.line
        WHERE r.line IS NULL
    ) AS f USING (place);
    SELECT min(line) INTO v_first FROM reservations
    WHERE store_id = p_store_id AND reservation_id = p_reservation_id;
    IF v_first > 1 THEN
        UPDATE reservations SET line = 1
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND line = v_first;
    END IF;

    UPDATE stock AS s SET reserved = s.reserved + n.delta
    FROM unnest(p_product_ids, p_deltas) AS n (id, delta)
    WHERE s.store_id = p_store_id AND s.product_id = n.id AND n.delta <> 0;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION write_lines IS
    'What hold_lines has judged: each product''s units, and by how many more or fewer are held.';
