CREATE OR REPLACE FUNCTION find_lapsed_registrations(OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (SELECT l.store_id FROM lapsed_registrations AS l);
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_lapsed_registrations IS
    'For the worker: the stores, of all, that have registrations which nobody activated. It only '
    'looks. Code: ok.';
