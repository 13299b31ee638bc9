CREATE OR REPLACE FUNCTION sweep_registrations(
    p_store_id text, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM set_change_context('the worker');
    document := jsonb_build_object(
        'done', drop_lapsed_registrations(p_store_id, NULL, p_limit));
    PERFORM set_change_context(NULL);
    result_code := 'ok';
END $$;

COMMENT ON FUNCTION sweep_registrations IS
    'Bookkeeping: remove up to p_limit users whose activation link lapsed unused. Code: ok.';
