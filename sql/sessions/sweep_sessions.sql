CREATE OR REPLACE FUNCTION sweep_sessions(
    p_store_id text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_ids bigint[];
BEGIN
    -- By what was not used for longest: those that are over come first.
    v_ids := ARRAY(
        SELECT s.session_id FROM sessions AS s
        LEFT JOIN open_sessions AS o
            ON o.store_id = s.store_id AND o.session_id = s.session_id
        WHERE s.store_id = p_store_id AND o.session_id IS NULL
        ORDER BY s.used_at LIMIT p_limit
    );
    DELETE FROM sessions WHERE store_id = p_store_id AND session_id = ANY (v_ids);
    result_code := 'ok';
    document := jsonb_build_object('done', cardinality(v_ids));
END $$;

COMMENT ON FUNCTION sweep_sessions IS
    'Bookkeeping: forget up to p_limit sessions that are over. Code: ok.';
