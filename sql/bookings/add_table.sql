CREATE OR REPLACE FUNCTION add_table(
    p_store_id text, p_kind text, p_seats int, p_price bigint, p_is_open boolean, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_table dining_tables;
BEGIN
    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN NOT COALESCE(p_kind IN ('regular', 'cabin', 'room') AND p_price >= 0
            AND p_seats BETWEEN 1 AND 10000, false) THEN 'invalid_request'
        ELSE 'created' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    INSERT INTO dining_tables (store_id, kind, seats, price, is_open)
    VALUES (p_store_id, p_kind, p_seats, p_price, COALESCE(p_is_open, true))
    RETURNING * INTO v_table;
    PERFORM set_change_context(NULL);
    document := table_document(v_table);
END $$;

COMMENT ON FUNCTION add_table IS
    'Add a table, which can be booked at once if it is open. Codes: created, unknown_store, '
    'invalid_request.';
