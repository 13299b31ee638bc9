CREATE OR REPLACE FUNCTION find_old_answers(OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - idempotency_period();
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT k.store_id FROM idempotency_keys AS k WHERE k.created_at <= v_before
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_old_answers IS
    'For the worker: the stores, of all, that have answers kept for long enough. It only looks. '
    'Code: ok.';
