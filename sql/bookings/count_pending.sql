CREATE OR REPLACE FUNCTION count_pending(
    p_store_id text, p_contact jsonb, p_user_id bigint, p_now timestamptz
) RETURNS int LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_digits text := phone_digits(p_contact ->> 'phone');
BEGIN
    RETURN (
        WITH theirs AS (
            SELECT guest_id FROM guests
            WHERE store_id = p_store_id AND lower(email) = lower(p_contact ->> 'email')
            UNION
            SELECT guest_id FROM guests
            WHERE store_id = p_store_id AND phone_digits = v_digits
            UNION
            SELECT guest_id FROM bookings
            WHERE store_id = p_store_id AND user_id = p_user_id AND status = 'pending'
        )
        SELECT count(*)::int FROM theirs JOIN bookings AS b ON b.guest_id = theirs.guest_id
        WHERE b.store_id = p_store_id
            AND booking_state(b.status, b.starts_at, b.ends_at, p_now) = 'pending'
    );
END $$;

COMMENT ON FUNCTION count_pending IS
    'How many bookings of a guest, by e-mail, phone or user, wait for an answer.';
