CREATE OR REPLACE FUNCTION move_booking(
    p_store_id text, p_booking_id bigint, p_table_id bigint, p_starts_at timestamptz,
    p_ends_at timestamptz, p_override boolean, p_defaults jsonb, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_old bookings;
    v_new bookings;
    v_now timestamptz;
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
BEGIN
    -- Lock. Both tables, by id.
    v_old := lock_booking(p_store_id, p_booking_id, p_table_id);
    v_now := clock_timestamp();

    -- Check. Without an end of its own a visit keeps its length.
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(v_old, v_now, '{pending,confirmed,seated}', NULL, NULL) AS r;
    IF result_code <> 'ok' THEN RETURN; END IF;
    v_new := v_old;
    v_new.table_id := COALESCE(p_table_id, v_old.table_id);
    v_new.starts_at := COALESCE(p_starts_at, v_old.starts_at);
    v_new.ends_at := COALESCE(p_ends_at, v_new.starts_at + (v_old.ends_at - v_old.starts_at));
    IF (v_new.table_id, v_new.starts_at) = (v_old.table_id, v_old.starts_at)
        AND v_new.ends_at IS NOT DISTINCT FROM v_old.ends_at
    THEN
        document := booking_document(v_old, v_now);
        RETURN;
    END IF;
    document := judge_move(v_old, v_new, v_rules, p_override, v_now);
    result_code := COALESCE(document ->> 'code', 'ok');
    document := document - 'code';
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. The price stays what it was when the booking was made.
    PERFORM set_change_context(p_actor);
    UPDATE bookings SET table_id = v_new.table_id, starts_at = v_new.starts_at,
        ends_at = v_new.ends_at, version = version + 1
    WHERE store_id = p_store_id AND booking_id = p_booking_id
    RETURNING * INTO v_new;
    PERFORM set_change_context(NULL);
    document := tell_booking(v_new, 'booking.moved',
        CASE v_new.status WHEN 'seated' THEN '{}' ELSE '{"guest": "moved"}' END::jsonb,
        jsonb_build_object('previous', booking_document(v_old, v_now)), v_rules);
END $$;

COMMENT ON FUNCTION move_booking IS
    'Another table, another time, for what is pending, confirmed or seated; null keeps what it '
    'was. A move that changes nothing tells nobody. Codes: ok, outside_rules (rule says which), '
    'table_taken, table_closed, unknown_table, booking_closed, wrong_state, unknown_booking, '
    'invalid_request.';
