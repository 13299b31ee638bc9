CREATE OR REPLACE FUNCTION insert_lines(
    p_store_id text, p_reservation_ids text[], p_actors text[],
    p_requested_at timestamptz[], p_ttls interval[], p_now timestamptz,
    p_line_requests int[], p_product_ids text[], p_quantities bigint[], p_result_codes text[]
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- New ids in sorted order, so that twins in two batches wait and never deadlock; the one that
    -- comes second gets a unique violation and finds a replay when it tries again.
    PERFORM set_config('holdfast.reason', 'reserve', true);
    INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,
        requested_at, lifetime, created_at, expires_at, made_by)
    SELECT p_store_id, n.reservation_id,
        row_number() OVER (PARTITION BY n.request ORDER BY n.product_id),
        CASE WHEN p_requested_at[n.request] IS NULL THEN 'hold'::reservation_kind
            ELSE 'callback'::reservation_kind END,
        n.product_id, n.quantity, finite_time(p_requested_at[n.request]), p_ttls[n.request],
        p_now, p_now + p_ttls[n.request], COALESCE(p_actors[n.request], session_user)
    FROM (
        SELECT l.request, p_reservation_ids[l.request] COLLATE "C" AS reservation_id,
            l.product_id COLLATE "C" AS product_id, sum(l.quantity) AS quantity
        FROM unnest(p_line_requests, p_product_ids, p_quantities)
            AS l (request, product_id, quantity)
        WHERE p_result_codes[l.request] = 'ok'
        GROUP BY l.request, l.product_id
    ) AS n
    ORDER BY n.reservation_id, n.product_id;
    PERFORM set_config('holdfast.reason', '', true);
END $$;

COMMENT ON FUNCTION insert_lines IS
    'Write the lines of requests that are "ok", made at p_now; their stock is taken by the caller.';
