CREATE OR REPLACE FUNCTION past_report(
    p_store_id text, p_at timestamptz, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT r.* INTO result_code, document FROM read_store(p_store_id, p_at, NULL, NULL) AS r;
END $$;

COMMENT ON FUNCTION past_report IS
    'read_store() as services of the release before call it, until the next release. Codes: ok, '
    'unknown_store, too_many_items.';
