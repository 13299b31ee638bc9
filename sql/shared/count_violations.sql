CREATE OR REPLACE FUNCTION count_violations(
    p_store_id text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT COALESCE(jsonb_agg(jsonb_build_object(
        'invariant', b.invariant, 'count', b.count, 'subject', b.subject) ORDER BY b.invariant),
        '[]')
    INTO document FROM (
        SELECT v.invariant, count(*) AS count, min(v.subject) AS subject
        FROM invariant_violations AS v WHERE v.store_id = p_store_id GROUP BY v.invariant
    ) AS b;
END $$;

COMMENT ON FUNCTION count_violations IS
    'Which invariants are broken in a store, how often, and on what for example; an empty array is '
    'healthy. It reads all that the store has. Codes: ok, unknown_store.';
