CREATE OR REPLACE FUNCTION read_reservation(
    p_store_id text, p_reservation_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    document := reservation_document(p_store_id, p_reservation_id);
    result_code := CASE
        WHEN document IS NOT NULL THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_reservation'
        ELSE 'unknown_store' END;
END $$;

COMMENT ON FUNCTION read_reservation IS
    'A reservation with its lines. Codes: ok, unknown_reservation, unknown_store.';
