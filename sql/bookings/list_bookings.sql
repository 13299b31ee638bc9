CREATE OR REPLACE FUNCTION list_bookings(
    p_store_id text, p_user_id bigint, p_status text, p_from timestamptz, p_to timestamptz,
    p_after bigint, p_limit int, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'bookings', COALESCE(jsonb_agg(
            booking_document(f.booking, v_now) || f.contact ORDER BY f.booking_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(f.booking_id) END)
    INTO document
    FROM (
        SELECT b.booking_id, b AS booking, jsonb_build_object(
            'name', g.name, 'email', g.email, 'phone', g.phone, 'user_id', b.user_id) AS contact
        FROM bookings AS b
        JOIN guests AS g ON g.store_id = b.store_id AND g.guest_id = b.guest_id
        WHERE b.store_id = p_store_id AND b.booking_id > COALESCE(p_after, 0)
            AND (p_user_id IS NULL OR b.user_id = p_user_id)
            AND (p_status IS NULL
                OR p_status = booking_state(b.status, b.starts_at, b.ends_at, v_now))
            AND (p_from IS NULL OR b.ends_at > p_from OR b.ends_at IS NULL)
            AND (p_to IS NULL OR b.starts_at < p_to)
        ORDER BY b.booking_id LIMIT p_limit
    ) AS f;
END $$;

COMMENT ON FUNCTION list_bookings IS
    'Bookings with their guests, by id, at most p_limit after p_after: of one user, in one state, '
    'that touch a time, where those are not null; next is the p_after of the page that follows, '
    'or null. Codes: ok, unknown_store.';
