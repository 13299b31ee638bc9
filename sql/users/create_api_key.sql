CREATE OR REPLACE FUNCTION create_api_key(
    p_store_id text, p_name text, p_key_hash bytea, p_actor text,
    OUT result_code text, OUT new_key_id bigint
) LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN p_name <> '' AND length(p_key_hash) = 32 THEN 'ok'
        ELSE 'invalid_request' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    INSERT INTO api_keys (store_id, key_hash, name) VALUES (p_store_id, p_key_hash, p_name)
    RETURNING key_id INTO new_key_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION create_api_key IS
    'Remember a key of a store by its SHA-256 hash. Codes: ok, unknown_store, invalid_request.';
