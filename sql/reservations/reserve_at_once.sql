CREATE OR REPLACE FUNCTION reserve_at_once(
    p_store_id text, p_reservation_ids text[], p_actors text[],
    p_requested_at timestamptz[], p_ttls interval[], p_max_lifetime interval,
    p_product_ids text[], p_quantities bigint[],
    OUT result_codes text[], OUT documents jsonb[]
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_new int[];
    v_wanted bigint;
    v_taken text[];
BEGIN
    -- Take what valid requests of new ids want, product by product and in their order: two callers
    -- can wait, never deadlock. What does not fit is not touched.
    WITH new AS MATERIALIZED (
        SELECT n.number::int, n.product_id COLLATE "C" AS product_id, n.quantity
        FROM unnest(p_reservation_ids, p_ttls, p_product_ids, p_quantities)
            WITH ORDINALITY AS n (reservation_id, ttl, product_id, quantity, number)
        LEFT JOIN LATERAL (
            SELECT true AS is_known FROM reservations AS r
            WHERE r.store_id = p_store_id AND r.reservation_id = n.reservation_id LIMIT 1
        ) AS k ON true
        WHERE k.is_known IS NULL AND n.reservation_id IS NOT NULL AND n.product_id IS NOT NULL
            AND n.quantity BETWEEN 1 AND 2147483647 AND COALESCE(n.ttl > interval '0', true)
            AND COALESCE(n.ttl <= p_max_lifetime, true)
    ), wanted AS MATERIALIZED (
        SELECT product_id, sum(quantity::int) AS quantity
        FROM new GROUP BY product_id ORDER BY product_id
    ), taken AS (
        UPDATE stock AS s SET reserved = s.reserved + w.quantity FROM wanted AS w
        WHERE s.store_id = p_store_id AND s.product_id = w.product_id
            AND w.quantity <= s.on_hand - s.reserved
        RETURNING s.product_id
    )
    SELECT (SELECT array_agg(number) FROM new), (SELECT count(*) FROM wanted),
        (SELECT array_agg(product_id) FROM taken)
    INTO v_new, v_wanted, v_taken;
    v_now := clock_timestamp();

    IF cardinality(v_new) = cardinality(p_reservation_ids) AND cardinality(v_taken) = v_wanted THEN
        result_codes := array_fill('ok'::text, ARRAY[cardinality(v_new)]);
        documents := array_fill(NULL::jsonb, ARRAY[cardinality(v_new)]);
    ELSE
        SELECT a.result_codes, a.documents INTO result_codes, documents
        FROM answer_unlocked(p_store_id, p_reservation_ids, p_requested_at, p_ttls,
            p_max_lifetime, p_product_ids, p_quantities, v_new, v_taken) AS a;
        IF result_codes IS NULL AND v_taken IS NOT NULL THEN
            RAISE EXCEPTION 'to be judged in order' USING ERRCODE = 'HF001';
        END IF;
        IF v_taken IS NULL THEN RETURN; END IF;
    END IF;

    -- Write, in order of id: twins in two batches wait and never deadlock.
    PERFORM set_config('holdfast.reason', 'reserve', true);
    INSERT INTO reservations (store_id, reservation_id, line, kind, product_id, quantity,
        requested_at, lifetime, created_at, expires_at, made_by)
    SELECT p_store_id, n.reservation_id, 1,
        CASE WHEN n.requested_at IS NULL THEN 'hold'::reservation_kind
            ELSE 'callback'::reservation_kind END,
        n.product_id, n.quantity,
        CASE WHEN isfinite(n.requested_at) THEN n.requested_at ELSE finite_time(n.requested_at) END,
        n.ttl, v_now, v_now + n.ttl,
        COALESCE(n.actor, session_user)
    FROM unnest(p_reservation_ids, p_actors, p_requested_at, p_ttls, p_product_ids, p_quantities,
        result_codes) AS n (reservation_id, actor, requested_at, ttl, product_id, quantity, code)
    WHERE n.code = 'ok'
    ORDER BY n.reservation_id COLLATE "C";
    PERFORM set_config('holdfast.reason', '', true);
END $$;

COMMENT ON FUNCTION reserve_at_once IS
    'Reserve for requests of one line without judging them one by one: products of which there is '
    'enough for all are taken, whatever else is answered as it stands. result_codes null, or '
    'SQLSTATE HF001 once something was written: they have to be judged in order. A new id that '
    'somebody else has just used raises unique_violation.';
