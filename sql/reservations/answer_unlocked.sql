CREATE OR REPLACE FUNCTION answer_unlocked(
    p_store_id text, p_reservation_ids text[], p_requested_at timestamptz[],
    p_ttls interval[], p_max_lifetime interval, p_product_ids text[], p_quantities bigint[],
    p_new int[], p_taken text[], OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_unknown text := CASE WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id)
        THEN 'unknown_product' ELSE 'unknown_store' END;
    v_is_clear boolean;
BEGIN
    SELECT array_agg(c.code ORDER BY n.number),
        array_agg(CASE WHEN c.code = 'insufficient_stock' AND n.requested_at IS NOT NULL
                THEN l.short  -- as refusal_document(): a sold-out storm hears nothing else
            WHEN c.code NOT IN ('ok', 'already_reserved') THEN refusal_document(
                c.code, n.requested_at IS NULL, jsonb_build_array(l.short), p_max_lifetime)
            END ORDER BY n.number),
        count(DISTINCT n.id) = count(n.id) AND bool_and(c.code IS NOT NULL AND (
            c.code <> 'insufficient_stock' OR n.quantity > s.available AND h.is_lapsed IS NULL))
    INTO result_codes, documents, v_is_clear
    FROM unnest(p_reservation_ids, p_requested_at, p_ttls, p_product_ids, p_quantities)
        WITH ORDINALITY AS n (id, requested_at, ttl, product_id, quantity, number)
    CROSS JOIN LATERAL (SELECT COALESCE(n.number = ANY (p_new), false) AS is_new) AS f
    LEFT JOIN LATERAL (
        SELECT q.* FROM reservations AS q
        WHERE q.store_id = p_store_id AND q.reservation_id = n.id AND NOT f.is_new
        ORDER BY q.line DESC LIMIT 1
    ) AS k ON true
    LEFT JOIN LATERAL (
        SELECT t.on_hand - t.reserved AS available FROM stock AS t
        WHERE t.store_id = p_store_id AND t.product_id = n.product_id AND f.is_new LIMIT 1
    ) AS s ON true
    LEFT JOIN LATERAL (
        SELECT true AS is_lapsed FROM reservations AS q
        WHERE q.store_id = p_store_id AND q.product_id = n.product_id AND f.is_new
            AND q.status = 'held' AND q.expires_at IS NOT NULL AND q.expires_at <= v_now
        ORDER BY q.expires_at LIMIT 1
    ) AS h ON true
    CROSS JOIN LATERAL (SELECT jsonb_build_object(
        'product_id', n.product_id, 'quantity', n.quantity, 'available', s.available) AS short
    ) AS l
    CROSS JOIN LATERAL (SELECT CASE
        WHEN f.is_new THEN CASE
            WHEN n.product_id = ANY (p_taken) THEN 'ok'
            WHEN s.available IS NULL THEN v_unknown
            ELSE 'insufficient_stock' END
        WHEN n.id IS NULL OR n.product_id IS NULL OR n.ttl <= interval '0'
            OR COALESCE(n.quantity NOT BETWEEN 1 AND 2147483647, true) THEN 'invalid_request'
        WHEN k.line IS NOT NULL THEN replay_code(
            k.line = 1 AND k.product_id = n.product_id AND k.quantity = n.quantity
            AND (k.kind, k.lifetime) IS NOT DISTINCT FROM (CASE WHEN n.requested_at IS NULL
                THEN 'hold'::reservation_kind ELSE 'callback'::reservation_kind END, n.ttl),
            k.status, k.expires_at, v_now)
        WHEN n.ttl > p_max_lifetime THEN 'lifetime_too_long' END AS code) AS c;
    IF v_is_clear IS NOT TRUE THEN
        result_codes := NULL;
    END IF;
END $$;

COMMENT ON FUNCTION answer_unlocked IS
    'Codes for requests of one line of which p_new (their numbers) are new and valid, and p_taken '
    '(all products of which there was enough) is taken: replays, and requests each of which is '
    'larger than what there is, are answered as they stand, without a lock. result_codes null: '
    'they have to be judged in order.';
