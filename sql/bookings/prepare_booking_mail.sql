CREATE OR REPLACE FUNCTION prepare_booking_mail(
    p_store_id text, p_booking_id bigint, p_to text, p_mail text, p_version int,
    p_token_hash bytea, p_defaults jsonb, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
    v_booking bookings;
    v_guest guests;
    v_why text;
BEGIN
    -- Check. A mail that comes too late, or that nobody can get, is not sent.
    SELECT * INTO v_booking FROM bookings
    WHERE store_id = p_store_id AND booking_id = p_booking_id;
    SELECT * INTO v_guest FROM guests
    WHERE store_id = p_store_id AND guest_id = v_booking.guest_id;
    v_why := CASE
        WHEN v_booking.booking_id IS NULL THEN 'There is no such booking.'
        WHEN p_to = 'guest' AND v_guest.email IS NULL THEN 'The guest has no address.'
        WHEN COALESCE(v_booking.ends_at, v_booking.starts_at + interval '24 hours') <= v_now
            THEN 'The booking is past.'
        WHEN p_mail IN ('received', 'confirmed', 'moved')
            AND v_booking.closed_at IS NOT NULL THEN 'The booking has ended since.'
        WHEN p_mail = 'reminder'
            AND (v_booking.status, v_booking.version) IS DISTINCT FROM ('confirmed', p_version)
            THEN 'The booking has changed since.'
        END;
    result_code := CASE WHEN v_why IS NULL THEN 'ok' ELSE 'not_needed' END;
    document := jsonb_build_object('why', v_why);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. The link goes with what the guest may still cancel.
    IF p_to = 'guest' AND v_booking.status IN ('pending', 'confirmed') THEN
        INSERT INTO booking_links (store_id, token_hash, booking_id)
        VALUES (p_store_id, p_token_hash, p_booking_id);
    END IF;
    document := booking_document(v_booking, v_now) || jsonb_build_object(
        'name', v_guest.name, 'email', v_guest.email, 'phone', v_guest.phone,
        'language', v_guest.language, 'time_zone', v_rules ->> 'time_zone',
        'utc_offset', utc_offset(v_booking.starts_at, v_rules ->> 'time_zone'))
        || (SELECT jsonb_build_object('restaurant', COALESCE(NULLIF(s.name, ''), s.store_id))
            FROM stores AS s WHERE s.store_id = p_store_id);
END $$;

COMMENT ON FUNCTION prepare_booking_mail IS
    'What a mail about a booking says and to whom it goes, and the link that it holds, of which '
    'only the hash is kept. For the worker, when it sends. Codes: ok, not_needed (why).';
