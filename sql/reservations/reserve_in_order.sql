CREATE OR REPLACE FUNCTION reserve_in_order(
    p_store_id text, p_reservation_ids text[], p_actors text[],
    p_requested_at timestamptz[], p_ttls interval[], p_max_lifetime interval,
    p_line_requests int[], p_product_ids text[], p_quantities bigint[],
    OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
BEGIN
    -- Lock.
    PERFORM lock_stock(p_store_id, p_product_ids);
    v_now := clock_timestamp();

    -- Check.
    SELECT j.result_codes, j.documents INTO result_codes, documents
    FROM judge_reservations(p_store_id, p_reservation_ids, p_requested_at, p_ttls, p_max_lifetime,
        p_line_requests, p_product_ids, p_quantities) AS j;
    IF array_position(result_codes, 'ok') IS NULL THEN RETURN; END IF;

    -- Write. New ids in sorted order, so that twins in two batches wait and never deadlock; the
    -- one that comes second gets a unique violation and finds a replay when it tries again.
    PERFORM set_config('holdfast.reason', 'reserve', true);
    INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,
        requested_at, lifetime, created_at, expires_at, made_by)
    SELECT p_store_id, n.reservation_id,
        row_number() OVER (PARTITION BY n.request ORDER BY n.product_id),
        CASE WHEN p_requested_at[n.request] IS NULL THEN 'hold'::reservation_kind
            ELSE 'callback'::reservation_kind END,
        n.product_id, n.quantity, finite_time(p_requested_at[n.request]), p_ttls[n.request],
        v_now, v_now + p_ttls[n.request], COALESCE(p_actors[n.request], session_user)
    FROM (
        SELECT l.request, p_reservation_ids[l.request] COLLATE "C" AS reservation_id,
            l.product_id COLLATE "C" AS product_id, sum(l.quantity) AS quantity
        FROM unnest(p_line_requests, p_product_ids, p_quantities)
            AS l (request, product_id, quantity)
        WHERE result_codes[l.request] = 'ok'
        GROUP BY l.request, l.product_id
    ) AS n
    ORDER BY n.reservation_id, n.product_id;
    PERFORM set_config('holdfast.reason', '', true);

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
    'Reserve for many requests, locked first and then judged one after another: the way of '
    'reserve_stock_batch for whatever cannot be taken at once.';
