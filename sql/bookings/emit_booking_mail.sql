CREATE OR REPLACE FUNCTION emit_booking_mail(
    p_booking bookings, p_mails jsonb, p_due_at timestamptz
) RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
BEGIN
    INSERT INTO outbox (store_id, channel, payload, due_at)
    SELECT p_booking.store_id, 'mail', jsonb_build_object(
        'to', m.key, 'mail', m.value,
        'booking_id', p_booking.booking_id, 'version', p_booking.version), p_due_at
    FROM jsonb_each(p_mails) AS m
    ORDER BY m.key COLLATE "C";
END $$;

COMMENT ON FUNCTION emit_booking_mail IS
    'Have mails about a booking sent, by whom they go to (guest, staff). They name the booking; '
    'name, address and link are filled in when they are sent.';
