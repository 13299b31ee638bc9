CREATE OR REPLACE FUNCTION reservation_requests(
    p_store_id text, p_reservation_ids text[], p_requested_at timestamptz[], p_ttls interval[],
    p_line_requests int[], p_product_ids text[], p_quantities bigint[]
) RETURNS TABLE (
    number int, is_hold boolean, same_id int, same_content int, replay_code text,
    products int[], product_ids text[], quantities bigint[], available bigint[]
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH lines AS (
        SELECT l.number, l.product_id, sum(l.quantity)::bigint AS quantity,
            count(*) AS line_count,
            bool_and(COALESCE(l.quantity BETWEEN 1 AND 2147483647, false))
                AND l.product_id IS NOT NULL AS is_valid
        FROM unnest(p_line_requests, p_product_ids, p_quantities)
            AS l (number, product_id, quantity)
        GROUP BY 1, 2
    ), placed AS (
        -- LATERAL with LIMIT looks rows up by their key, also while no statistics tell to.
        SELECT l.*, s.available,
            dense_rank() OVER (ORDER BY l.product_id COLLATE "C")::int AS product
        FROM lines AS l
        LEFT JOIN LATERAL (
            SELECT k.on_hand - k.reserved AS available FROM stock AS k
            WHERE k.store_id = p_store_id AND k.product_id = l.product_id LIMIT 1
        ) AS s ON true
    ), requests AS (
        SELECT p.number, p_reservation_ids[p.number] AS reservation_id,
            p_requested_at[p.number] IS NULL AS is_hold, p_ttls[p.number] AS ttl,
            array_agg(p.product ORDER BY p.product) AS products,
            array_agg(p.product_id ORDER BY p.product) AS product_ids,
            array_agg(p.quantity ORDER BY p.product) AS quantities,
            array_agg(p.available ORDER BY p.product) AS available
        FROM placed AS p
        GROUP BY p.number
        HAVING bool_and(p.is_valid) AND sum(p.line_count) <= 100
            AND p_reservation_ids[p.number] IS NOT NULL
            AND COALESCE(p_ttls[p.number] > interval '0', true)
    )
    SELECT r.number, r.is_hold, min(r.number) OVER (PARTITION BY r.reservation_id),
        min(r.number) OVER (
            PARTITION BY r.reservation_id, r.is_hold, r.ttl, r.product_ids, r.quantities),
        CASE WHEN k.status IS NOT NULL THEN replay_code(
            (k.kind, k.lifetime, k.product_ids, k.quantities) IS NOT DISTINCT FROM (
                CASE WHEN r.is_hold THEN 'hold'::reservation_kind
                    ELSE 'callback'::reservation_kind END, r.ttl, r.product_ids, r.quantities),
            k.status, k.expires_at, v_now) END,
        r.products, r.product_ids, r.quantities, r.available
    FROM requests AS r
    CROSS JOIN LATERAL (
        SELECT max(q.status) AS status, min(q.kind) AS kind, min(q.lifetime) AS lifetime,
            min(q.expires_at) AS expires_at,
            array_agg(q.product_id::text ORDER BY q.product_id) AS product_ids,
            array_agg(q.quantity ORDER BY q.product_id) AS quantities
        FROM reservations AS q
        WHERE q.store_id = p_store_id AND q.reservation_id = r.reservation_id
    ) AS k
    ORDER BY r.number;
END $$;

COMMENT ON FUNCTION reservation_requests IS
    'Many reservation requests, one row each in arrival order, their lines of one product summed '
    'and set beside what is known: which request has the same id or the same content first, '
    'what a reservation of that id answers, what is available. Invalid requests are left out.';
