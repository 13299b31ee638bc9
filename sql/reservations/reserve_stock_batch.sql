CREATE OR REPLACE FUNCTION reserve_stock_batch(
    p_store_id text,
    p_reservation_ids text[], p_requested_at timestamptz[], p_ttls interval[],
    p_line_requests int[], p_product_ids text[], p_quantities bigint[]
) RETURNS TABLE (result_code text, refused_lines jsonb)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    v_requests int[] := COALESCE(p_line_requests,
        ARRAY(SELECT generate_series(1, cardinality(p_product_ids))));
    v_now timestamptz;
    v_codes text[];
    v_refused jsonb[];
BEGIN
    -- Lock.
    PERFORM lock_stock(p_store_id, p_product_ids);
    v_now := clock_timestamp();

    -- Check. Nearly always all are new and fit, which one look tells; else they are judged one
    -- after another.
    IF p_line_requests IS NULL AND all_new_and_fit(
        p_store_id, p_reservation_ids, p_ttls, p_product_ids, p_quantities)
    THEN
        v_codes := array_fill('ok'::text, ARRAY[cardinality(p_reservation_ids)]);
    ELSE
        SELECT * INTO v_codes, v_refused FROM judge_reservations(
            p_store_id, p_reservation_ids, p_ttls, v_requests, p_product_ids, p_quantities);
    END IF;

    -- Write. New ids in sorted order, so that twins in two batches wait and never deadlock; the
    -- one that comes second gets a unique violation and finds a replay when it tries again.
    IF 'ok' = ANY (v_codes) THEN
        INSERT INTO reservations AS r
            (store_id, reservation_id, kind, requested_at, created_at, expires_at)
        SELECT p_store_id, n.reservation_id,
            CASE WHEN n.requested_at IS NULL THEN 'hold' ELSE 'callback' END,
            n.requested_at, v_now, v_now + n.ttl
        FROM unnest(p_reservation_ids, p_requested_at, p_ttls, v_codes)
            AS n (reservation_id, requested_at, ttl, code)
        WHERE n.code = 'ok'
        ORDER BY n.reservation_id COLLATE "C";

        INSERT INTO reservation_lines (store_id, reservation_id, product_id, quantity, held_until)
        SELECT p_store_id, p_reservation_ids[n.request], n.product_id, sum(n.quantity),
            COALESCE(v_now + p_ttls[n.request], 'infinity')
        FROM unnest(v_requests, p_product_ids, p_quantities) AS n (request, product_id, quantity)
        WHERE v_codes[n.request] = 'ok'
        GROUP BY n.request, n.product_id;

        UPDATE stock AS s SET reserved = s.reserved + n.quantity
        FROM (
            SELECT l.product_id, sum(l.quantity) AS quantity
            FROM unnest(v_requests, p_product_ids, p_quantities)
                AS l (request, product_id, quantity)
            WHERE v_codes[l.request] = 'ok'
            GROUP BY l.product_id
        ) AS n
        WHERE s.store_id = p_store_id AND s.product_id = n.product_id;
    END IF;

    RETURN QUERY SELECT * FROM unnest(v_codes, v_refused);
END $$;

COMMENT ON FUNCTION reserve_stock_batch IS
    'Reserve stock for many requests of one store in one transaction, each answered by its own '
    'code, in arrival order, as if they had come one by one. Arrays: per request its id, the '
    'caller''s timestamp (null: a hold, not a callback) and its lifetime (null: for ever); per '
    'line the number of its request from 1 (null: line n is request n), product and quantity (1 to '
    '2147483647). At most 100 lines a request, all or nothing. Codes: ok, already_reserved, '
    'reservation_closed, reservation_id_reused, insufficient_stock, unknown_product, '
    'unknown_store, invalid_request. refused_lines: the lines in the way, with what is available.';
