CREATE OR REPLACE FUNCTION seat_booking(
    p_store_id text, p_booking_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking bookings;
    v_now timestamptz;
    v_taken_by bigint;
BEGIN
    -- Lock.
    v_booking := lock_booking(p_store_id, p_booking_id);
    v_now := clock_timestamp();

    -- Check.
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(v_booking, v_now, '{confirmed}', 'seated', 'already_seated') AS r;
    IF result_code = 'ok' THEN
        SELECT b.booking_id INTO v_taken_by FROM bookings AS b
        WHERE b.store_id = p_store_id AND b.table_id = v_booking.table_id
            AND b.status = 'seated';
        IF FOUND THEN
            result_code := 'table_taken';
            document := jsonb_build_object('taken_by', v_taken_by);
        END IF;
    END IF;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    UPDATE bookings SET status = 'seated', version = version + 1
    WHERE store_id = p_store_id AND booking_id = p_booking_id
    RETURNING * INTO v_booking;
    PERFORM set_change_context(NULL);
    document := tell_booking(v_booking, 'booking.seated', '{}', '{}');
END $$;

COMMENT ON FUNCTION seat_booking IS
    'The guests of a confirmed booking have sat down: the table is theirs until they are '
    'finished. Codes: ok, already_seated, table_taken (while others sit there), booking_closed, '
    'wrong_state, unknown_booking.';
