CREATE OR REPLACE FUNCTION find_lapsed_orders(OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT r.store_id FROM reservations AS r
        WHERE r.kind = 'order' AND r.closed_by IS NULL
            AND r.expires_at IS NOT NULL AND r.expires_at <= v_now
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_lapsed_orders IS
    'For the worker: the stores, of all, with orders whose hold has lapsed and is not written down '
    'as expired. It only looks. Code: ok.';
