CREATE OR REPLACE FUNCTION revoke_api_key(
    p_store_id text, p_key_id bigint, p_actor text, OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_key api_keys;
    v_now timestamptz := clock_timestamp();
BEGIN
    -- Lock.
    SELECT * INTO v_key FROM api_keys
    WHERE store_id = p_store_id AND key_id = p_key_id FOR UPDATE;

    -- Check.
    result_code := CASE
        WHEN v_key.key_id IS NULL THEN 'unknown_key'
        WHEN v_key.revoked_at IS NOT NULL THEN 'already_revoked'
        ELSE 'ok' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    UPDATE api_keys SET revoked_at = v_now
    WHERE store_id = p_store_id AND key_id = p_key_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION revoke_api_key IS
    'A key opens nothing any more, in every process within two seconds. Codes: ok, '
    'already_revoked, unknown_key.';
