CREATE OR REPLACE FUNCTION cancel_booking_by_link(
    p_store_id text, p_token_hash bytea, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_booking_id bigint;
BEGIN
    SELECT booking_id INTO v_booking_id FROM booking_links
    WHERE store_id = p_store_id AND token_hash = p_token_hash;
    IF NOT FOUND THEN
        result_code := 'unknown_link';
        RETURN;
    END IF;
    SELECT c.result_code, c.document INTO result_code, document
    FROM cancel_booking(p_store_id, v_booking_id, NULL, true, format('link:%s', v_booking_id)) AS c;
END $$;

COMMENT ON FUNCTION cancel_booking_by_link IS
    'A guest takes a booking back by the link of a mail, a confirmed one, too. Codes: ok, '
    'already_cancelled, booking_closed, wrong_state, unknown_link, unknown_booking.';
