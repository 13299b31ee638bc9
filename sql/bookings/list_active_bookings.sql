CREATE OR REPLACE FUNCTION list_active_bookings(
    p_store_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_most CONSTANT int := 10000;
    v_now timestamptz := clock_timestamp();
    v_count bigint;
BEGIN
    SELECT count(*), jsonb_build_object('bookings', COALESCE(jsonb_agg(
        booking_document(f.booking, v_now) || jsonb_build_object(
            'email', f.email, 'table', table_document(f.dining_table))
        ORDER BY f.booking_id), '[]'))
    INTO v_count, document
    FROM (
        SELECT b.booking_id, b AS booking, t AS dining_table, g.email
        FROM bookings AS b
        JOIN dining_tables AS t ON t.store_id = b.store_id AND t.table_id = b.table_id
        JOIN guests AS g ON g.store_id = b.store_id AND g.guest_id = b.guest_id
        WHERE b.store_id = p_store_id AND b.status IN ('pending', 'confirmed', 'seated')
            AND booking_state(b.status, b.starts_at, b.ends_at, v_now) <> 'declined'
            AND (b.status <> 'confirmed' OR b.ends_at IS NULL OR b.ends_at > v_now)
        LIMIT v_most + 1
    ) AS f;
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN v_count > v_most THEN 'too_many_items'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN document := jsonb_build_object('most', v_most); END IF;
END $$;

COMMENT ON FUNCTION list_active_bookings IS
    'All bookings that are pending, confirmed and not over, or seated, by id, each with its table '
    'and its guest''s e-mail, as clients of the older service list them. Codes: ok, '
    'unknown_store, too_many_items.';
