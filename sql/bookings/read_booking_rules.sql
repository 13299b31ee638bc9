CREATE OR REPLACE FUNCTION read_booking_rules(
    p_store_id text, p_defaults jsonb, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := CASE WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id)
        THEN 'ok' ELSE 'unknown_store' END;
    document := CASE result_code WHEN 'ok' THEN booking_rules_of(p_store_id, p_defaults) END;
END $$;

COMMENT ON FUNCTION read_booking_rules IS
    'The house rules in force, so that a client can build its form. Codes: ok, unknown_store.';
