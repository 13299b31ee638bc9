CREATE OR REPLACE FUNCTION put_store(
    p_store_id text, p_name text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_change_context(p_actor);
    result_code := CASE create_store(p_store_id, p_name) WHEN 'ok' THEN 'created' ELSE 'ok' END;
    UPDATE stores SET name = p_name WHERE store_id = p_store_id AND name <> p_name;
    PERFORM set_change_context(NULL);
    IF result_code = 'created' THEN
        PERFORM record_event(
            p_store_id, 'stores/' || p_store_id, 'insert',
            jsonb_build_object('name', jsonb_build_object('to', COALESCE(p_name, ''))), p_actor);
    END IF;
    document := (
        SELECT jsonb_build_object(
            'store', jsonb_build_object('store_id', store_id, 'name', name))
        FROM stores WHERE store_id = p_store_id
    );
END $$;

COMMENT ON FUNCTION put_store IS
    'Create a store, or rename it; without a name (null) it keeps the one it has. '
    'Codes: created, ok.';
