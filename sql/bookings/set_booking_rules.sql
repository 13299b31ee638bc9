CREATE OR REPLACE FUNCTION set_booking_rules(
    p_store_id text, p_rules jsonb, p_defaults jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    -- Check. What cannot be judged by is refused here, not when a guest asks for a table.
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;
    BEGIN
        PERFORM visit_length(p_defaults || p_rules, 1),
            make_interval(mins => (p_rules ->> 'buffer_minutes')::int,
                hours => (p_rules ->> 'reminder_hours')::int),
            judge_booking(p_defaults || p_rules, v_now + s.day, v_now + s.day, 1, 1, v_now)
        FROM (SELECT make_interval(days => n) AS day FROM generate_series(1, 7) AS n) AS s;
        result_code := 'ok';
    EXCEPTION WHEN data_exception THEN
        result_code := 'invalid_request';
        RETURN;
    END;

    -- Write.
    PERFORM set_change_context(p_actor);
    INSERT INTO booking_rules (store_id, rules, changed_at, changed_by)
    VALUES (p_store_id, p_rules, v_now, p_actor)
    ON CONFLICT (store_id) DO UPDATE SET rules = EXCLUDED.rules,
        changed_at = EXCLUDED.changed_at, changed_by = EXCLUDED.changed_by;
    PERFORM set_change_context(NULL);
    document := booking_rules_of(p_store_id, p_defaults);
END $$;

COMMENT ON FUNCTION set_booking_rules IS
    'Replace the house rules of a restaurant; what is absent is not restricted any more. Codes: '
    'ok, unknown_store, invalid_request.';
