CREATE OR REPLACE FUNCTION change_table(
    p_store_id text, p_table_id bigint, p_kind text, p_seats int, p_price bigint,
    p_is_open boolean, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_table dining_tables;
BEGIN
    -- Lock. Who confirms a booking of it waits, and then finds it closed.
    PERFORM FROM dining_tables
    WHERE store_id = p_store_id AND table_id = p_table_id FOR NO KEY UPDATE;

    -- Check.
    result_code := CASE
        WHEN NOT FOUND THEN 'unknown_table'
        WHEN NOT (COALESCE(p_kind IN ('regular', 'cabin', 'room'), true)
            AND COALESCE(p_price >= 0, true) AND COALESCE(p_seats BETWEEN 1 AND 10000, true))
            THEN 'invalid_request'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    UPDATE dining_tables SET kind = COALESCE(p_kind, kind), seats = COALESCE(p_seats, seats),
        price = COALESCE(p_price, price), is_open = COALESCE(p_is_open, is_open)
    WHERE store_id = p_store_id AND table_id = p_table_id
    RETURNING * INTO v_table;
    PERFORM set_change_context(NULL);
    document := table_document(v_table);
END $$;

COMMENT ON FUNCTION change_table IS
    'Change a table; null keeps what it was. What was booked keeps its price, and closing a table '
    'takes nothing away from who has it. Codes: ok, unknown_table, invalid_request.';
