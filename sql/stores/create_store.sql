CREATE OR REPLACE FUNCTION create_store(
    p_store_id text, p_name text DEFAULT '', OUT result_code text
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- One statement decides and writes, so that two that start together both succeed.
    INSERT INTO stores (store_id, name) VALUES (p_store_id, COALESCE(p_name, ''))
    ON CONFLICT DO NOTHING;
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'already_exists' END;
END $$;

COMMENT ON FUNCTION create_store IS
    'Create a store, empty. Codes: ok, already_exists (its name stays as it is).';
