CREATE OR REPLACE FUNCTION decline_booking(
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
    FROM refuse_booking(v_booking, v_now, '{pending}', 'declined', 'already_declined') AS r;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := close_booking(v_booking, 'declined', v_now, p_actor, 'staff');
    PERFORM set_change_context(NULL);
    document := tell_booking(
            v_booking, 'booking.declined', '{"guest": "declined"}', '{"by": "staff"}');
END $$;

COMMENT ON FUNCTION decline_booking IS
    'Tell a guest that a pending booking will not be. Codes: ok, already_declined, '
    'booking_closed, wrong_state, unknown_booking.';
