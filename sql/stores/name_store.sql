CREATE OR REPLACE FUNCTION name_store(
    p_store_id text, p_name text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := CASE create_store(p_store_id, p_name)
        WHEN 'ok' THEN 'created' ELSE 'ok' END;
    UPDATE stores SET name = p_name WHERE store_id = p_store_id AND name <> p_name;
    document := jsonb_build_object(
        'store', jsonb_build_object('store_id', p_store_id, 'name', p_name));
END $$;

COMMENT ON FUNCTION name_store IS 'Create a store, or rename it. Codes: created, ok.';
