CREATE OR REPLACE FUNCTION request_booking(
    p_store_id text, p_table_id bigint, p_starts_at timestamptz, p_ends_at timestamptz,
    p_guests int, p_contact jsonb, p_user_id bigint, p_limit int, p_defaults jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
    v_ends_at timestamptz := COALESCE(p_ends_at, p_starts_at + visit_length(v_rules, p_guests));
    v_contact jsonb := p_contact;
    v_table dining_tables;
    v_booking bookings;
    v_rule jsonb;
BEGIN
    -- Lock. No row: a request takes nothing. Only who asks waits for their own other requests.
    IF v_contact ->> 'email' IS NULL AND p_user_id IS NOT NULL THEN
        v_contact := v_contact || jsonb_build_object('email', (
            SELECT email FROM users WHERE store_id = p_store_id AND user_id = p_user_id));
    END IF;
    PERFORM lock_contact(p_store_id, v_contact || jsonb_build_object('user_id', p_user_id));
    v_now := clock_timestamp();

    -- Check.
    SELECT * INTO v_table FROM dining_tables
    WHERE store_id = p_store_id AND table_id = p_table_id;
    v_rule := judge_booking(v_rules, p_starts_at, v_ends_at, p_guests, v_table.seats, v_now,
        interval '24 hours');
    result_code := CASE
        WHEN NOT COALESCE(p_guests > 0 AND p_limit > 0 AND isfinite(p_starts_at), false)
            OR v_ends_at <= p_starts_at THEN 'invalid_request'
        WHEN v_table.table_id IS NULL THEN 'unknown_table'
        WHEN NOT v_table.is_open THEN 'table_closed'
        WHEN COALESCE(v_contact ->> 'email', v_contact ->> 'phone') IS NULL
            THEN 'contact_required'
        WHEN v_rule IS NOT NULL THEN 'outside_rules'
        WHEN count_pending(p_store_id, v_contact, p_user_id, v_now) >= p_limit
            THEN 'too_many_bookings'
        ELSE 'created' END;
    document := CASE result_code WHEN 'outside_rules' THEN v_rule ELSE '{}' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := insert_booking(p_store_id, p_table_id, 'pending', p_starts_at, v_ends_at,
        p_guests, v_table.price, v_contact, p_user_id, p_actor);
    PERFORM set_change_context(NULL);
    document := tell_booking(
        v_booking, 'booking.requested', '{"guest": "received", "staff": "requested"}', '{}');
END $$;

COMMENT ON FUNCTION request_booking IS
    'Ask for a table: pending until staff confirm or decline it, and taking nothing until then. '
    'p_ends_at null: the visit''s length by the house rules. p_contact: name, email, phone, '
    'language. p_limit: pending bookings that one contact may have. Codes: created, '
    'unknown_table, table_closed, outside_rules (rule says which), contact_required, '
    'too_many_bookings, invalid_request.';
