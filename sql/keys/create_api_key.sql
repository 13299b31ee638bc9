CREATE OR REPLACE FUNCTION create_api_key(
    p_store_id text, p_name text, p_key_hash bytea, p_scopes text[], p_expires_at timestamptz,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_known CONSTANT text[] := ARRAY['reserve', 'stock', 'orders', 'bookings', 'admin'];
    v_scopes text[] := COALESCE(p_scopes, v_known[1:4]);
    v_key api_keys;
BEGIN
    -- Check.
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN p_name <> '' AND length(p_key_hash) = 32
            AND cardinality(v_scopes) > 0 AND v_scopes <@ v_known
            AND COALESCE(p_expires_at, 'infinity') > clock_timestamp() THEN 'created'
        ELSE 'invalid_request' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    INSERT INTO api_keys (store_id, key_hash, name, scopes, expires_at)
    VALUES (p_store_id, p_key_hash, p_name, v_scopes, p_expires_at) RETURNING * INTO v_key;
    PERFORM set_change_context(NULL);
    document := jsonb_build_object(
        'key_id', v_key.key_id, 'name', v_key.name, 'scopes', v_key.scopes,
        'expires_at', rfc3339(v_key.expires_at), 'created_at', rfc3339(v_key.created_at));
END $$;

COMMENT ON FUNCTION create_api_key IS
    'Remember a key of a store by its SHA-256 hash, with what it may do (null: all but admin) and '
    'its end, if it has one. Codes: created, unknown_store, invalid_request.';
