CREATE OR REPLACE FUNCTION judge_move(
    p_old bookings, p_new bookings, p_rules jsonb, p_override boolean, p_now timestamptz
) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_keeps_start boolean := p_new.starts_at = p_old.starts_at;
    v_table dining_tables;
    v_rule jsonb;
    v_until timestamptz := p_new.ends_at;
    v_taken_by bigint;
BEGIN
    SELECT * INTO v_table FROM dining_tables
    WHERE store_id = p_new.store_id AND table_id = p_new.table_id;
    IF NOT FOUND THEN RETURN '{"code": "unknown_table"}'::jsonb; END IF;
    IF NOT isfinite(p_new.starts_at) OR p_new.ends_at <= p_new.starts_at
        OR p_new.ends_at >= timestamptz '9999-12-31 00:00Z'
    THEN
        RETURN '{"code": "invalid_request"}'::jsonb;
    END IF;

    -- A start that stays was judged when it was asked for, and may be past: guests who are there
    -- are given another table.
    IF NOT p_override THEN
        v_rule := judge_booking(
            CASE WHEN v_keeps_start THEN p_rules - ARRAY['notice_minutes', 'days_ahead']
                ELSE p_rules END,
            p_new.starts_at, p_new.ends_at, p_new.guests, v_table.seats,
            CASE WHEN v_keeps_start THEN LEAST(p_now, p_new.starts_at) ELSE p_now END);
    END IF;
    IF v_rule IS NOT NULL THEN
        RETURN '{"code": "outside_rules"}' || v_rule;
    END IF;

    -- What is pending takes nothing, so nothing can be in its way but a closed table.
    IF p_new.status = 'pending' THEN
        RETURN CASE WHEN v_table.is_open OR p_override THEN NULL
            ELSE '{"code": "table_closed"}'::jsonb END;
    END IF;

    -- Who sits there needs it free of others now, past the end of their own time, too.
    IF p_new.status = 'seated' THEN
        v_until := CASE WHEN p_new.ends_at <= p_now THEN p_now ELSE p_new.ends_at END;
        SELECT b.booking_id INTO v_taken_by FROM bookings AS b
        WHERE b.store_id = p_new.store_id AND b.table_id = p_new.table_id
            AND b.status = 'seated' AND b.booking_id <> p_new.booking_id;
        IF FOUND THEN
            RETURN jsonb_build_object('code', 'table_taken', 'taken_by', v_taken_by);
        END IF;
    END IF;
    RETURN judge_table(p_new.store_id, p_new.table_id, p_new.starts_at, v_until, p_rules,
        p_override, p_now, p_new.booking_id);
END $$;

COMMENT ON FUNCTION judge_move IS
    'What keeps a booking from its new table and time, as a document with its code; null: '
    'nothing. The tables are locked.';
