CREATE OR REPLACE FUNCTION reserve_baskets_at_once(
    p_store_id text, p_reservation_ids text[], p_actors text[],
    p_requested_at timestamptz[], p_ttls interval[], p_max_lifetime interval,
    p_line_requests int[], p_product_ids text[], p_quantities bigint[], OUT result_codes text[]
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_wanted_count bigint;
    v_taken_count bigint;
BEGIN
    -- As reserve_at_once. Nothing is touched unless all are new and valid, and seem to fit.
    WITH lines AS MATERIALIZED (
        SELECT l.request, l.product_id COLLATE "C" AS product_id, count(*) AS line_count,
            sum(l.quantity)::bigint AS quantity
        FROM unnest(p_line_requests, p_product_ids, p_quantities)
            AS l (request, product_id, quantity)
        WHERE l.product_id IS NOT NULL AND l.quantity BETWEEN 1 AND 2147483647
        GROUP BY 1, 2
    ), requests AS MATERIALIZED (
        SELECT l.request, sum(l.line_count) AS line_count
        FROM lines AS l
        LEFT JOIN LATERAL (
            SELECT true AS is_known FROM reservations AS r
            WHERE r.store_id = p_store_id AND r.reservation_id = p_reservation_ids[l.request]
            LIMIT 1
        ) AS k ON true
        WHERE k.is_known IS NULL AND p_reservation_ids[l.request] IS NOT NULL
            AND COALESCE(p_ttls[l.request] > interval '0', true)
            AND COALESCE(p_ttls[l.request] <= p_max_lifetime, true)
        GROUP BY l.request HAVING sum(l.line_count) <= 100
    ), wanted AS MATERIALIZED (
        SELECT n.product_id, n.quantity, n.quantity <= s.available AS fits
        FROM (
            SELECT product_id, sum(quantity)::bigint AS quantity FROM lines
            WHERE (SELECT sum(line_count) FROM requests) = cardinality(p_product_ids)
                AND (SELECT count(*) FROM requests) = cardinality(p_reservation_ids)
            GROUP BY product_id
        ) AS n
        LEFT JOIN LATERAL (
            SELECT t.on_hand - t.reserved AS available FROM stock AS t
            WHERE t.store_id = p_store_id AND t.product_id = n.product_id LIMIT 1
        ) AS s ON true
        ORDER BY n.product_id
    ), taken AS (
        UPDATE stock AS s SET reserved = s.reserved + w.quantity FROM wanted AS w
        WHERE s.store_id = p_store_id AND s.product_id = w.product_id
            AND w.quantity <= s.on_hand - s.reserved
            AND (SELECT bool_and(COALESCE(fits, false)) FROM wanted)
        RETURNING s.product_id
    )
    SELECT (SELECT count(*) FROM wanted), (SELECT count(*) FROM taken)
    INTO v_wanted_count, v_taken_count;

    IF v_taken_count > 0 AND v_taken_count = v_wanted_count THEN
        result_codes := array_fill('ok'::text, ARRAY[cardinality(p_reservation_ids)]);
        PERFORM insert_lines(p_store_id, p_reservation_ids, p_actors, p_requested_at, p_ttls,
            clock_timestamp(), p_line_requests, p_product_ids, p_quantities, result_codes);
    ELSIF v_taken_count > 0 THEN
        RAISE EXCEPTION 'to be judged in order' USING ERRCODE = 'HF001';
    END IF;
END $$;

COMMENT ON FUNCTION reserve_baskets_at_once IS
    'Reserve for requests of any number of lines, where all are new and valid and there is enough '
    'for all. result_codes null, or SQLSTATE HF001 once something was written: they have to be '
    'judged in order.';
