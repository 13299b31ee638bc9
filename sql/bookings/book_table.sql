CREATE OR REPLACE FUNCTION book_table(
    p_store_id text, p_table_id bigint, p_user_id bigint, p_limit int, p_defaults jsonb,
    p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
    v_contact jsonb := jsonb_build_object('user_id', p_user_id, 'email', (
        SELECT email FROM users WHERE store_id = p_store_id AND user_id = p_user_id));
    v_table dining_tables;
    v_booking bookings;
    v_rule jsonb;
BEGIN
    -- Lock. No row: a request takes nothing. A user's requests wait for each other.
    PERFORM lock_contact(p_store_id, v_contact);
    v_now := clock_timestamp();

    -- Check.
    SELECT * INTO v_booking FROM bookings AS b
    WHERE b.store_id = p_store_id AND b.user_id = p_user_id AND b.table_id = p_table_id
        AND b.ends_at IS NULL AND booking_state(b.status, b.starts_at, NULL, v_now) = 'pending'
    ORDER BY b.booking_id LIMIT 1;
    IF FOUND THEN
        result_code := 'already_requested';
        document := booking_document(v_booking, v_now);
        RETURN;
    END IF;
    SELECT * INTO v_table FROM dining_tables
    WHERE store_id = p_store_id AND table_id = p_table_id;
    v_rule := judge_booking(v_rules, v_now, NULL, 1, v_table.seats, v_now);
    result_code := CASE
        WHEN v_table.table_id IS NULL THEN 'unknown_table'
        WHEN NOT v_table.is_open THEN 'table_closed'
        WHEN v_rule IS NOT NULL THEN 'outside_rules'
        WHEN count_pending(p_store_id, v_contact, p_user_id, v_now) >= p_limit
            THEN 'too_many_bookings'
        ELSE 'created' END;
    document := CASE result_code WHEN 'outside_rules' THEN v_rule ELSE '{}' END;
    IF result_code <> 'created' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := insert_booking(p_store_id, p_table_id, 'pending', v_now, NULL, 1,
        v_table.price, v_contact, p_user_id, p_actor);
    PERFORM set_change_context(NULL);
    document := tell_booking(v_booking, 'booking.requested',
        CASE WHEN v_contact ->> 'email' IS NULL THEN '{"staff": "requested"}'::jsonb
            ELSE '{"guest": "received", "staff": "requested"}' END, '{}');
END $$;

COMMENT ON FUNCTION book_table IS
    'Ask for a table as clients of the older service do: by a signed-in user, from now on, '
    'open-ended; by e-mail where the user has one, else without any contact. Codes: created, '
    'already_requested (the same, pending since before), unknown_table, table_closed, '
    'outside_rules (rule says which), too_many_bookings.';
