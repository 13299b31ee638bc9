CREATE OR REPLACE FUNCTION judge_move(
    p_booking bookings, p_rules jsonb, p_override boolean, p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_table dining_tables;
    v_rule jsonb;
BEGIN
    SELECT * INTO v_table FROM dining_tables
    WHERE store_id = p_booking.store_id AND table_id = p_booking.table_id;
    IF NOT FOUND THEN RETURN '{"code": "unknown_table"}'::jsonb; END IF;
    IF NOT isfinite(p_booking.starts_at) OR p_booking.ends_at <= p_booking.starts_at THEN
        RETURN '{"code": "invalid_request"}'::jsonb;
    END IF;
    IF NOT p_override THEN
        v_rule := judge_booking(p_rules, p_booking.starts_at, p_booking.ends_at,
            p_booking.guests, v_table.seats, p_now);
    END IF;
    IF v_rule IS NOT NULL THEN
        RETURN '{"code": "outside_rules"}' || v_rule;
    END IF;

    -- What is pending takes nothing, so nothing can be in its way but a closed table.
    IF p_booking.status = 'pending' THEN
        RETURN CASE WHEN v_table.is_open OR p_override THEN NULL
            ELSE '{"code": "table_closed"}'::jsonb END;
    END IF;
    RETURN judge_table(p_booking.store_id, p_booking.table_id, p_booking.starts_at,
        p_booking.ends_at, p_rules, p_override, p_now, p_booking.booking_id);
END $$;

COMMENT ON FUNCTION judge_move IS
    'What keeps a booking from its new table and time, as a document with its code; null: '
    'nothing. The tables are locked.';
