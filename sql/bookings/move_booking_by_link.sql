CREATE OR REPLACE FUNCTION move_booking_by_link(
    p_store_id text, p_token_hash bytea, p_table_id bigint, p_starts_at timestamptz,
    p_ends_at timestamptz, p_defaults jsonb, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking_id bigint;
    v_booking bookings;
    v_now timestamptz;
BEGIN
    -- Lock. As move_booking does, which finds it all locked then.
    SELECT booking_id INTO v_booking_id FROM booking_links
    WHERE store_id = p_store_id AND token_hash = p_token_hash;
    v_booking := lock_booking(p_store_id, v_booking_id, p_table_id);
    v_now := clock_timestamp();

    -- Check. What is confirmed is the house's to move; a guest's visit lasts a day at most.
    IF v_booking.booking_id IS NULL THEN
        result_code := 'unknown_link';
        RETURN;
    END IF;
    SELECT r.result_code, r.document INTO result_code, document
    FROM refuse_booking(v_booking, v_now, '{pending}', NULL, NULL) AS r;
    IF result_code = 'ok'
        AND p_ends_at - COALESCE(p_starts_at, v_booking.starts_at) > interval '24 hours'
    THEN
        result_code := 'outside_rules';
        document := '{"rule": "length"}';
    END IF;
    IF result_code <> 'ok' THEN RETURN; END IF;
    SELECT m.result_code, m.document INTO result_code, document
    FROM move_booking(p_store_id, v_booking.booking_id, p_table_id, p_starts_at, p_ends_at,
        false, p_defaults, format('link:%s', v_booking.booking_id)) AS m;
END $$;

COMMENT ON FUNCTION move_booking_by_link IS
    'A guest asks for another table or time by the link of a mail, while the booking is pending. '
    'Codes: ok, outside_rules (rule says which), table_taken, table_closed, unknown_table, '
    'booking_closed, wrong_state, unknown_link, unknown_booking, invalid_request.';
