CREATE OR REPLACE FUNCTION tell_booking(
    p_booking bookings, p_event text, p_mails jsonb, p_facts jsonb, p_rules jsonb DEFAULT NULL
) RETURNS jsonb LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_document jsonb := booking_document(p_booking, v_now);
    v_hours int := (p_rules ->> 'reminder_hours')::int;
    v_remind_at timestamptz := p_booking.starts_at - make_interval(hours => v_hours);
BEGIN
    PERFORM emit_event(p_booking.store_id, p_event, v_document || p_facts);
    IF p_booking.status = 'confirmed' AND v_hours > 0 AND v_remind_at > v_now THEN
        PERFORM emit_booking_mail(p_booking, '{"guest": "reminder"}', v_remind_at);
    END IF;
    PERFORM emit_booking_mail(p_booking, p_mails, v_now);
    RETURN v_document;
END $$;

COMMENT ON FUNCTION tell_booking IS
    'Tell webhooks and mails what has become of a booking, in the transaction that did it; with '
    'rules, remind the guest of a confirmed one. p_mails: to whom (guest, staff) which mail. '
    'Returns the booking''s document.';
