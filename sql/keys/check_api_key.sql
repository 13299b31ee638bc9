CREATE OR REPLACE FUNCTION check_api_key(
    p_store_id text, p_key_hash bytea, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_key api_keys;
BEGIN
    -- Check.
    SELECT * INTO v_key FROM api_keys
    WHERE store_id = p_store_id AND key_hash = p_key_hash AND revoked_at IS NULL
        AND COALESCE(expires_at, 'infinity') > v_now;
    result_code := CASE WHEN v_key.key_id IS NULL THEN 'unauthorized' ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;
    document := jsonb_build_object('key_id', v_key.key_id, 'scopes', v_key.scopes);

    -- Write, once a minute. While another does, or somebody revokes it, there is no need.
    IF COALESCE(v_key.last_used_at, '-infinity') < v_now - interval '1 minute' THEN
        PERFORM FROM api_keys
        WHERE store_id = p_store_id AND key_id = v_key.key_id FOR NO KEY UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE api_keys SET last_used_at = v_now
            WHERE store_id = p_store_id AND key_id = v_key.key_id;
        END IF;
    END IF;
END $$;

COMMENT ON FUNCTION check_api_key IS
    'Which key has this SHA-256 hash and what it may do, and that it is used. Codes: ok, '
    'unauthorized (unknown, revoked or past its end).';
