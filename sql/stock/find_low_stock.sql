CREATE OR REPLACE FUNCTION find_low_stock(OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', store_id)), '[]')
    INTO document FROM (SELECT DISTINCT store_id FROM low_stock_changes) AS c;
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_low_stock IS
    'For the worker: the stores, of all, with products that have become low, or are no more. It '
    'only looks. Code: ok.';
