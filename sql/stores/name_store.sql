CREATE OR REPLACE FUNCTION name_store(
    p_store_id text, p_name text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT p.* INTO result_code, document FROM put_store(p_store_id, p_name, NULL) AS p;
END $$;

COMMENT ON FUNCTION name_store IS
    'put_store() as services of the release before call it, until the next release. '
    'Codes: created, ok.';
