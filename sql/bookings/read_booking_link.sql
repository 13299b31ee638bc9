CREATE OR REPLACE FUNCTION read_booking_link(
    p_store_id text, p_token_hash bytea, p_defaults jsonb,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_rules jsonb := booking_rules_of(p_store_id, p_defaults);
BEGIN
    SELECT booking_document(b, v_now) || jsonb_build_object(
        'name', g.name, 'language', g.language,
        'restaurant', COALESCE(NULLIF(s.name, ''), s.store_id),
        'time_zone', v_rules ->> 'time_zone',
        'utc_offset', utc_offset(b.starts_at, v_rules ->> 'time_zone'))
    INTO document
    FROM booking_links AS l
    JOIN bookings AS b ON b.store_id = l.store_id AND b.booking_id = l.booking_id
    JOIN guests AS g ON g.store_id = b.store_id AND g.guest_id = b.guest_id
    JOIN stores AS s ON s.store_id = b.store_id
    WHERE l.store_id = p_store_id AND l.token_hash = p_token_hash;
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unknown_link' END;
END $$;

COMMENT ON FUNCTION read_booking_link IS
    'The booking that a link is of, with what its page shows. Codes: ok, unknown_link.';
