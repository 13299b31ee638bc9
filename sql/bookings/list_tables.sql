CREATE OR REPLACE FUNCTION list_tables(
    p_store_id text, p_kind text, p_seats int, p_price_min bigint, p_price_max bigint,
    p_starts_at timestamptz, p_ends_at timestamptz, p_after bigint, p_limit int,
    p_defaults jsonb, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
    v_party int := COALESCE(p_seats, 1);
    v_ends_at timestamptz := COALESCE(p_ends_at, p_starts_at + visit_length(v_rules, v_party));
    v_rule jsonb;
    v_taken bigint[] := '{}'::bigint[];
BEGIN
    IF p_starts_at < v_ends_at THEN
        v_rule := judge_booking(
            v_rules, p_starts_at, v_ends_at, v_party, NULL, v_now, interval '24 hours');
        v_taken := taken_tables(p_store_id, p_starts_at, v_ends_at, v_rules, v_now);
    END IF;
    result_code := CASE
        WHEN NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_store'
        WHEN p_ends_at <= p_starts_at OR p_starts_at IS NULL AND p_ends_at IS NOT NULL
            THEN 'invalid_request'
        WHEN v_rule IS NOT NULL THEN 'outside_rules'
        ELSE 'ok' END;
    document := v_rule;
    IF result_code <> 'ok' THEN RETURN; END IF;

    SELECT jsonb_build_object(
        'tables', COALESCE(jsonb_agg(table_document(f) ORDER BY f.table_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(f.table_id) END)
    INTO document
    FROM (
        SELECT * FROM dining_tables AS t
        WHERE t.store_id = p_store_id AND t.is_open
            AND t.table_id > COALESCE(p_after, 0) AND t.table_id <> ALL (v_taken)
            AND t.kind = COALESCE(p_kind, t.kind) AND t.seats >= v_party
            AND t.price BETWEEN COALESCE(p_price_min, 0) AND COALESCE(p_price_max, t.price)
        ORDER BY t.table_id LIMIT p_limit
    ) AS f;
END $$;

COMMENT ON FUNCTION list_tables IS
    'Open tables for a party of p_seats, by id, at most p_limit after p_after; with a time those '
    'that are free then, judged by all house rules. p_starts_at alone takes the visit''s length. '
    'Codes: ok, unknown_store, outside_rules (rule says which), invalid_request.';
