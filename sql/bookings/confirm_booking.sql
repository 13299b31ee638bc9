CREATE OR REPLACE FUNCTION confirm_booking(
    p_store_id text, p_booking_id bigint, p_decline_rivals boolean, p_override boolean,
    p_defaults jsonb, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking bookings;
    v_now timestamptz;
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
    v_conflict jsonb;
BEGIN
    -- Lock.
    v_booking := lock_booking(p_store_id, p_booking_id);
    v_now := clock_timestamp();

    -- Check.
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(v_booking, v_now, '{pending}', 'confirmed', 'already_confirmed') AS r;
    IF result_code = 'booking_closed' AND v_booking.reason = 'rival' THEN
        result_code := 'table_taken';
    ELSIF result_code = 'ok' THEN
        v_conflict := judge_table(p_store_id, v_booking.table_id, v_booking.starts_at,
            v_booking.ends_at, v_rules, p_override, v_now, p_booking_id);
        result_code := COALESCE(v_conflict ->> 'code', 'ok');
        document := v_conflict - 'code';
    END IF;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. The rivals are those that this time is now taken from.
    PERFORM set_change_context(p_actor);
    UPDATE bookings SET status = 'confirmed', version = version + 1
    WHERE store_id = p_store_id AND booking_id = p_booking_id
    RETURNING * INTO v_booking;
    document := tell_booking(
        v_booking, 'booking.confirmed', '{"guest": "confirmed"}', '{}', v_rules);
    IF p_decline_rivals THEN
        PERFORM decline_rivals(v_booking, v_now, p_actor);
    END IF;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION confirm_booking IS
    'Give a pending booking its table, and decline the pending ones that overlap it, each guest '
    'told. Judged are overlap, buffer and whether the table is open; p_override lifts all but the '
    'overlap. Codes: ok, already_confirmed, table_taken (also when declined as a rival; rule '
    'buffer where only that is in the way), table_closed, booking_closed, wrong_state, '
    'unknown_booking.';
