CREATE OR REPLACE FUNCTION rotate_hook_secret(
    p_store_id text, p_hook_id bigint, p_secret text, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_until timestamptz;
BEGIN
    -- Lock.
    PERFORM FROM hooks WHERE store_id = p_store_id AND hook_id = p_hook_id FOR NO KEY UPDATE;

    -- Check.
    result_code := CASE
        WHEN (p_secret ~ '^whsec_') IS NOT TRUE THEN 'invalid_request'
        WHEN FOUND THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_hook'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    v_until := clock_timestamp() + interval '1 day';
    PERFORM set_change_context(p_actor);
    UPDATE hooks SET old_secret = secret, old_secret_until = v_until, secret = p_secret
    WHERE store_id = p_store_id AND hook_id = p_hook_id;
    PERFORM set_change_context(NULL);
    document := hook_documents(p_store_id, ARRAY[p_hook_id]) -> 0
        || jsonb_build_object('secret', p_secret);
END $$;

COMMENT ON FUNCTION rotate_hook_secret IS
    'Give a target a new secret; the one before signs along for a day. document: the target, and, '
    'this once, its secret. Codes: ok, unknown_hook, unknown_store, invalid_request.';
