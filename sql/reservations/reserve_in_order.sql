CREATE OR REPLACE FUNCTION reserve_in_order(
    p_store_id text, p_reservation_ids text[], p_actors text[],
    p_requested_at timestamptz[], p_ttls interval[], p_max_lifetime interval,
    p_line_requests int[], p_product_ids text[], p_quantities bigint[],
    OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_has_lapsed boolean;
BEGIN
    -- Look, at one moment. Where nothing can be granted nobody waits for a lock.
    SELECT j.result_codes, j.documents, has_lapsed(p_store_id, p_product_ids)
    INTO result_codes, documents, v_has_lapsed
    FROM judge_reservations(p_store_id, p_reservation_ids, p_requested_at, p_ttls, p_max_lifetime,
        p_line_requests, p_product_ids, p_quantities) AS j;
    IF array_position(result_codes, 'ok') IS NULL AND NOT v_has_lapsed THEN RETURN; END IF;

    -- Lock.
    PERFORM lock_stock(p_store_id, p_product_ids);
    v_now := clock_timestamp();

    -- Check.
    SELECT j.result_codes, j.documents INTO result_codes, documents
    FROM judge_reservations(p_store_id, p_reservation_ids, p_requested_at, p_ttls, p_max_lifetime,
        p_line_requests, p_product_ids, p_quantities) AS j;
    IF array_position(result_codes, 'ok') IS NULL THEN RETURN; END IF;

    -- Write.
    PERFORM insert_lines(p_store_id, p_reservation_ids, p_actors, p_requested_at, p_ttls, v_now,
        p_line_requests, p_product_ids, p_quantities, result_codes);
    UPDATE stock AS s SET reserved = s.reserved + n.quantity
    FROM (
        SELECT l.product_id, sum(l.quantity) AS quantity
        FROM unnest(p_line_requests, p_product_ids, p_quantities)
            AS l (request, product_id, quantity)
        WHERE result_codes[l.request] = 'ok'
        GROUP BY l.product_id
    ) AS n
    WHERE s.store_id = p_store_id AND s.product_id = n.product_id;
END $$;

COMMENT ON FUNCTION reserve_in_order IS
    'Reserve for many requests, judged one after another under the locks: the way of '
    'reserve_stock_batch for whatever cannot be taken at once.';
