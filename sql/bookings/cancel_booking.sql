CREATE OR REPLACE FUNCTION cancel_booking(
    p_store_id text, p_booking_id bigint, p_user_id bigint, p_by_guest boolean, p_actor text,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking bookings;
    v_now timestamptz;
BEGIN
    -- Lock.
    v_booking := lock_booking(p_store_id, p_booking_id);
    v_now := clock_timestamp();
    IF p_user_id IS NOT NULL AND v_booking.user_id IS DISTINCT FROM p_user_id THEN
        v_booking := NULL;
    END IF;

    -- Check.
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(
        v_booking, v_now, '{pending,confirmed}', 'cancelled', 'already_cancelled') AS r;
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write.
    PERFORM set_change_context(p_actor);
    v_booking := close_booking(v_booking, 'cancelled', v_now, p_actor);
    PERFORM set_change_context(NULL);
    document := CASE WHEN p_by_guest
        THEN tell_booking(v_booking, 'booking.cancelled',
            '{"guest": "cancelled", "staff": "cancelled"}', '{"by": "guest"}')
        ELSE tell_booking(v_booking, 'booking.cancelled',
            '{"guest": "cancelled"}', '{"by": "staff"}') END;
END $$;

COMMENT ON FUNCTION cancel_booking IS
    'Take a pending or confirmed booking back. p_user_id: only this user''s own; null: anybody''s. '
    'Codes: ok, already_cancelled, booking_closed, wrong_state, '
    'unknown_booking.';
