CREATE OR REPLACE FUNCTION place_booking(
    p_store_id text, p_table_id bigint, p_starts_at timestamptz, p_ends_at timestamptz,
    p_is_open_ended boolean, p_guests int, p_contact jsonb, p_override boolean,
    p_defaults jsonb, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
    v_ends_at timestamptz := CASE WHEN NOT p_is_open_ended
        THEN COALESCE(p_ends_at, p_starts_at + visit_length(v_rules, p_guests)) END;
    v_is_span boolean := COALESCE(
        isfinite(p_starts_at) AND COALESCE(v_ends_at > p_starts_at, true), false);
    v_table dining_tables;
    v_booking bookings;
    v_rule jsonb;
    v_conflict jsonb;
BEGIN
    -- Lock.
    SELECT * INTO v_table FROM dining_tables
    WHERE store_id = p_store_id AND table_id = p_table_id FOR NO KEY UPDATE;
    v_now := clock_timestamp();

    -- Check.
    IF v_is_span THEN
        v_conflict := judge_table(
            p_store_id, p_table_id, p_starts_at, v_ends_at, v_rules, p_override, v_now, NULL);
    END IF;
    IF v_is_span AND NOT p_override THEN
        v_rule := judge_booking(
            v_rules, p_starts_at, v_ends_at, p_guests, v_table.seats, v_now);
    END IF;
    result_code := CASE
        WHEN NOT (v_is_span AND COALESCE(p_guests > 0, false)) THEN 'invalid_request'
        WHEN v_table.table_id IS NULL THEN 'unknown_table'
        WHEN v_rule IS NOT NULL THEN 'outside_rules'
        ELSE COALESCE(v_conflict ->> 'code', 'created') END;
    document := CASE result_code WHEN 'outside_rules' THEN v_rule
        ELSE COALESCE(v_conflict, '{}') - 'code' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := insert_booking(p_store_id, p_table_id, 'confirmed', p_starts_at, v_ends_at,
        p_guests, v_table.price, p_contact, NULL, p_actor);
    PERFORM set_change_context(NULL);
    document := tell_booking(
        v_booking, 'booking.confirmed', '{"guest": "confirmed"}', '{}', v_rules);
END $$;

COMMENT ON FUNCTION place_booking IS
    'A booking that staff make, confirmed at once. p_is_open_ended: it takes the table for good. '
    'Codes: created, unknown_table, outside_rules (rule says which), table_taken (taken_by says '
    'by which booking), table_closed, invalid_request.';
