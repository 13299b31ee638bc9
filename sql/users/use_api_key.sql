CREATE OR REPLACE FUNCTION use_api_key(
    p_store_id text, p_key_hash bytea, OUT result_code text, OUT known_key_id bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_used_at timestamptz;
BEGIN
    -- Check.
    SELECT key_id, last_used_at INTO known_key_id, v_used_at FROM api_keys
    WHERE store_id = p_store_id AND key_hash = p_key_hash AND revoked_at IS NULL;
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unauthorized' END;

    -- Write, once a minute. While another does, or somebody revokes it, there is no need.
    IF COALESCE(v_used_at, '-infinity') < clock_timestamp() - interval '1 minute' THEN
        UPDATE api_keys AS k SET last_used_at = clock_timestamp()
        FROM (
            SELECT key_id FROM api_keys
            WHERE store_id = p_store_id AND key_id = known_key_id FOR UPDATE SKIP LOCKED
        ) AS free
        WHERE k.store_id = p_store_id AND k.key_id = free.key_id;
    END IF;
END $$;

COMMENT ON FUNCTION use_api_key IS
    'Which key has this SHA-256 hash, and that it is used. Codes: ok, unauthorized (unknown or '
    'revoked).';
