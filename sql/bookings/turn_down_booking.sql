CREATE OR REPLACE FUNCTION turn_down_booking(
    p_store_id text, p_booking_id bigint, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT d.result_code, d.document INTO result_code, document
    FROM decline_booking(p_store_id, p_booking_id, p_actor) AS d;

    -- It was locked: what is not pending by now will not become so again.
    IF result_code IN ('wrong_state', 'booking_closed') THEN
        SELECT c.result_code, c.document INTO result_code, document
        FROM cancel_booking(p_store_id, p_booking_id, NULL, false, p_actor) AS c;
    END IF;
END $$;

COMMENT ON FUNCTION turn_down_booking IS
    'Staff take a booking off the list, as in the older service: what is pending is declined, what '
    'is confirmed cancelled. Codes: ok, already_declined, already_cancelled, booking_closed, '
    'wrong_state, unknown_booking.';
