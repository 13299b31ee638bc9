CREATE OR REPLACE FUNCTION find_closed_sessions(OUT result_code text, OUT document jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT COALESCE(jsonb_agg(jsonb_build_object('store_id', s.store_id)), '[]')
    INTO document FROM stores AS s
    WHERE s.store_id IN (
        SELECT c.store_id FROM sessions AS c
        LEFT JOIN open_sessions AS o
            ON o.store_id = c.store_id AND o.session_id = c.session_id
        WHERE o.session_id IS NULL
    );
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION find_closed_sessions IS
    'For the worker: the stores, of all, that remember sessions which are over. It only looks. '
    'Code: ok.';
