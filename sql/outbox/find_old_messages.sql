CREATE OR REPLACE FUNCTION find_old_messages(
    p_keep interval, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_before timestamptz := clock_timestamp() - p_keep;
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT o.store_id FROM outbox AS o WHERE COALESCE(o.delivered_at, o.skipped_at) < v_before
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_old_messages IS
    'For the worker: the stores, of all, that have messages delivered or skipped longer than '
    'p_keep ago. It only looks. Code: ok.';
