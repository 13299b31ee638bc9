CREATE OR REPLACE FUNCTION list_free_tables(
    p_store_id text, p_kind text, p_seats int, p_seats_min int, p_seats_max int,
    p_price_min bigint, p_price_max bigint, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_most CONSTANT int := 10000;
    v_now timestamptz := clock_timestamp();
    v_taken bigint[] := taken_tables(
        p_store_id, v_now, v_now + interval '1 microsecond', '{"buffer_minutes": 0}', v_now);
    v_count bigint;
BEGIN
    SELECT count(*), jsonb_build_object(
        'tables', COALESCE(jsonb_agg(table_document(f) ORDER BY f.table_id), '[]'))
    INTO v_count, document
    FROM (
        SELECT * FROM dining_tables AS t
        WHERE t.store_id = p_store_id AND t.is_open AND t.table_id <> ALL (v_taken)
            AND t.kind = COALESCE(p_kind, t.kind) AND t.seats = COALESCE(p_seats, t.seats)
            AND t.seats BETWEEN COALESCE(p_seats_min, t.seats) AND COALESCE(p_seats_max, t.seats)
            AND t.price BETWEEN COALESCE(p_price_min, t.price) AND COALESCE(p_price_max, t.price)
        LIMIT v_most + 1
    ) AS f;
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_count > v_most THEN 'too_many_items'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN document := jsonb_build_object('most', v_most); END IF;
END $$;

COMMENT ON FUNCTION list_free_tables IS
    'All tables by id that are open and that nobody has at this moment, as clients of the older '
    'service list them; p_seats: exactly so many. What is null does not matter. Codes: ok, '
    'unknown_store, too_many_items.';
