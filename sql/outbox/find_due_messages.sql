CREATE OR REPLACE FUNCTION find_due_messages(
    p_channel text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT o.store_id FROM outbox AS o
        WHERE o.channel = p_channel AND o.target = '' AND o.is_waiting AND o.due_at <= v_now
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_due_messages IS
    'For the worker: the stores, of all, that have messages of a channel without targets to be '
    'sent now. It only looks. Code: ok.';
