CREATE OR REPLACE FUNCTION miss_booking(
    p_store_id text, p_booking_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking bookings;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_booking := lock_booking(p_store_id, p_booking_id);
    v_now := clock_timestamp();

    -- Check. Nobody is late before the visit begins.
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(v_booking, v_now, '{confirmed}', 'no_show', 'already_no_show') AS r;
    IF result_code = 'ok' AND v_now <= v_booking.starts_at THEN
        result_code := 'wrong_state';
        document := jsonb_build_object('booking_status', v_booking.status);
    END IF;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := close_booking(v_booking, 'no_show', v_now, p_actor);
    PERFORM set_change_context(NULL);
    document := tell_booking(v_booking, 'booking.no_show', '{}', '{}');
END $$;

COMMENT ON FUNCTION miss_booking IS
    'The guests of a confirmed booking did not come: the table is free. Codes: ok, '
    'already_no_show, booking_closed, wrong_state (also before its start), unknown_booking.';
