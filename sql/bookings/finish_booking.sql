CREATE OR REPLACE FUNCTION finish_booking(
    p_store_id text, p_booking_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking bookings;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_booking := lock_booking(p_store_id, p_booking_id);
    v_now := clock_timestamp();

    -- Check.
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(v_booking, v_now, '{seated}', 'finished', 'already_finished') AS r;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := close_booking(v_booking, 'finished', v_now, p_actor);
    PERFORM set_change_context(NULL);
    document := tell_booking(v_booking, 'booking.finished', '{}', '{}');
END $$;

COMMENT ON FUNCTION finish_booking IS
    'The guests who were seated have gone: the table is free. Codes: ok, already_finished, '
    'booking_closed, wrong_state, unknown_booking.';
