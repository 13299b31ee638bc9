CREATE OR REPLACE FUNCTION insert_booking(
    p_store_id text, p_table_id bigint, p_status text, p_starts_at timestamptz,
    p_ends_at timestamptz, p_guests int, p_price bigint, p_contact jsonb, p_user_id bigint,
    p_actor text
) RETURNS bookings LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_guest_id bigint;
    v_booking bookings;
BEGIN
    INSERT INTO guests (store_id, name, email, phone, language)
    VALUES (p_store_id, p_contact ->> 'name', p_contact ->> 'email', p_contact ->> 'phone',
        p_contact ->> 'language')
    RETURNING guest_id INTO v_guest_id;
    INSERT INTO bookings (store_id, table_id, guest_id, user_id, status, starts_at, ends_at,
        guests, price_at_booking, made_by)
    VALUES (p_store_id, p_table_id, v_guest_id, p_user_id, p_status, p_starts_at, p_ends_at,
        p_guests, p_price, p_actor)
    RETURNING * INTO v_booking;
    RETURN v_booking;
END $$;

COMMENT ON FUNCTION insert_booking IS 'A new booking and its guest; the caller has judged it.';
