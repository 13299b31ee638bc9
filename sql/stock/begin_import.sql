CREATE OR REPLACE FUNCTION begin_import(
    p_store_id text, p_creates boolean, OUT result_code text
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Lock. One import of a store at a time.
    PERFORM pg_advisory_xact_lock(hashtextextended('import_stock:' || p_store_id, 0));
    IF p_creates THEN PERFORM create_store(p_store_id); END IF;

    -- Check.
    result_code := CASE WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id)
        THEN 'ok' ELSE 'unknown_store' END;
END $$;

COMMENT ON FUNCTION begin_import IS
    'Begin to import into a store, which p_creates makes where there is none; lines may then be '
    'copied into import_lines, in the same transaction. For the owner. Codes: ok, unknown_store.';
