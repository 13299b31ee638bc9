CREATE OR REPLACE FUNCTION latest_reservations(
    p_store_id text, p_status text, p_product_id text, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
-- By reservations_by_time, which knows which pages can hold what was made of late, and costs
-- reserving 1 % (35.7 us for 35.9 in a batch of 32; a tree would be written to at every row).
SET enable_seqscan = off SET enable_indexscan = off SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    v_most CONSTANT int := 10000;
    v_now timestamptz := clock_timestamp();
    v_begin timestamptz := (SELECT s.created_at FROM stores AS s WHERE s.store_id = p_store_id);
    v_enough int := CASE WHEN p_status IS NULL AND p_product_id IS NULL THEN p_limit * 2
        ELSE v_most / 4 END;
    v_seconds float8 := 1.0::float8;
    v_few float8 := 0.0::float8;
    v_many float8;
    v_seen bigint;
    v_ids text[];
BEGIN
    IF v_begin IS NULL THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    -- How far back there are enough lines and not too many: a second of a busy store has 20,000, a
    -- year of a quiet one 20. At most v_most are read each time, 5 ms.
    FOR i IN 1 .. 60 LOOP
        v_seen := (SELECT count(*) FROM (
            SELECT FROM reservations AS r
            WHERE r.store_id = p_store_id
                AND r.created_at > v_now - make_interval(secs => v_seconds)
            LIMIT v_most + 1
        ) AS q);
        EXIT WHEN v_seen BETWEEN v_enough AND v_most OR v_seen <= v_most
            AND v_now - make_interval(secs => v_seconds) < v_begin;
        v_few := CASE WHEN v_seen > v_most THEN v_few ELSE v_seconds END;
        v_many := CASE WHEN v_seen > v_most THEN v_seconds ELSE v_many END;
        -- More in one moment than are looked at end the search, too.
        v_seconds := COALESCE(
            CASE WHEN v_many - v_few < 0.00001 THEN v_many ELSE (v_few + v_many) / 2 END,
            v_seconds * 4);
        EXIT WHEN v_seconds = v_many;
    END LOOP;

    v_ids := ARRAY(
        SELECT f.reservation_id FROM (
            SELECT * FROM reservations AS r
            WHERE r.store_id = p_store_id
                AND r.created_at > v_now - make_interval(secs => v_few)
            UNION ALL (
                SELECT * FROM reservations AS r
                WHERE r.store_id = p_store_id
                    AND r.created_at > v_now - make_interval(secs => v_seconds)
                    AND r.created_at <= v_now - make_interval(secs => v_few)
                LIMIT v_most
            )
        ) AS f
        GROUP BY f.reservation_id
        HAVING (p_product_id IS NULL OR bool_or(f.product_id = p_product_id))
            AND (p_status IS NULL OR p_status =
                reservation_state(max(f.status), min(f.expires_at), v_now)::text)
        ORDER BY min(f.created_at) DESC, f.reservation_id DESC LIMIT p_limit
    );
    result_code := 'ok';
    SELECT jsonb_build_object(
        'reservations', COALESCE(jsonb_agg(d.document ORDER BY w.number), '[]'), 'next', NULL)
    INTO document
    FROM reservation_documents(p_store_id, v_ids) AS d
    JOIN unnest(v_ids) WITH ORDINALITY AS w (id, number) ON w.id = d.id;
END $$;

COMMENT ON FUNCTION latest_reservations IS
    'The latest reservations of a store, newest first, at most p_limit: of one status and with one '
    'product where those are not null, then among the last few thousand lines. next is null: it is '
    'no page. Codes: ok, unknown_store.';
