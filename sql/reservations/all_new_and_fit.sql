CREATE OR REPLACE FUNCTION all_new_and_fit(
    p_store_id text, p_reservation_ids text[], p_ttls interval[],
    p_product_ids text[], p_quantities bigint[]
) RETURNS boolean LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- LATERAL with LIMIT looks rows up by their key, also while no statistics tell the planner to.
    IF EXISTS (
        SELECT FROM unnest(p_reservation_ids) AS n (id) CROSS JOIN LATERAL (
            SELECT FROM reservations AS r
            WHERE r.store_id = p_store_id AND r.reservation_id = n.id LIMIT 1
        ) AS r
    ) THEN RETURN false; END IF;

    IF (
        SELECT count(DISTINCT n.reservation_id COLLATE "C") < count(*)
            OR NOT bool_and(COALESCE(n.quantity BETWEEN 1 AND 2147483647, false)
                AND n.reservation_id IS NOT NULL
                AND COALESCE(n.ttl > interval '0', true))
        FROM unnest(p_reservation_ids, p_ttls, p_quantities) AS n (reservation_id, ttl, quantity)
    ) THEN RETURN false; END IF;

    RETURN COALESCE((
        SELECT bool_and(COALESCE(n.quantity <= s.available, false))
        FROM (
            SELECT l.product_id, sum(l.quantity) AS quantity
            FROM unnest(p_product_ids, p_quantities) AS l (product_id, quantity)
            GROUP BY l.product_id
        ) AS n
        LEFT JOIN LATERAL (
            SELECT k.on_hand - k.reserved AS available FROM stock AS k
            WHERE k.store_id = p_store_id AND k.product_id = n.product_id LIMIT 1
        ) AS s ON true
    ), false);
END $$;

COMMENT ON FUNCTION all_new_and_fit IS
    'Whether one-line requests are all valid, all of new ids, and fit together into what is '
    'available: then each of them is "ok" and nobody need be judged alone.';
