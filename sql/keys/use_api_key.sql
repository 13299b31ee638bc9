CREATE OR REPLACE FUNCTION use_api_key(
    p_store_id text, p_key_hash bytea, OUT result_code text, OUT known_key_id bigint
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_all CONSTANT jsonb := '["reserve", "stock", "orders", "bookings"]'::jsonb;
    v_key record;
BEGIN
    SELECT k.result_code, k.document INTO v_key FROM check_api_key(p_store_id, p_key_hash) AS k;
    result_code := CASE
        WHEN v_key.document -> 'scopes' @> v_all THEN 'ok' ELSE 'unauthorized' END;
    IF result_code = 'ok' THEN
        known_key_id := (v_key.document ->> 'key_id')::bigint;
    END IF;
END $$;

COMMENT ON FUNCTION use_api_key IS
    'As check_api_key, for services of the release before, which know no scopes: they take no key '
    'that is limited. Goes one release later. Codes: ok, unauthorized.';
