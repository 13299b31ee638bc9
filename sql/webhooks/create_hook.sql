CREATE OR REPLACE FUNCTION create_hook(
    p_store_id text, p_url text, p_events text[], p_secret text, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_hook_id bigint;
BEGIN
    -- Check.
    result_code := CASE
        WHEN (p_url ~ '^https?://' AND length(p_url) <= 2000 AND p_secret ~ '^whsec_') IS NOT TRUE
            OR p_events = '{}' OR NOT p_events <@ event_types() THEN 'invalid_request'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'created'
        ELSE 'unknown_store' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    INSERT INTO hooks (store_id, url, events, secret)
    VALUES (p_store_id, p_url, p_events, p_secret) RETURNING hook_id INTO v_hook_id;
    PERFORM set_change_context(NULL);
    document := hook_documents(p_store_id, ARRAY[v_hook_id]) -> 0
        || jsonb_build_object('secret', p_secret);
END $$;

COMMENT ON FUNCTION create_hook IS
    'Have events of some types (null: all) told to a URL from now on. document: the target, and, '
    'this once, its secret. Codes: created, unknown_store, invalid_request.';
