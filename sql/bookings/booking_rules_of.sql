CREATE OR REPLACE FUNCTION booking_rules_of(p_store_id text, p_defaults jsonb)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN jsonb_build_object(
        'hours', NULL, 'closed_days', '[]'::jsonb, 'visit_minutes', '[]'::jsonb,
        'buffer_minutes', 0, 'notice_minutes', 0, 'days_ahead', NULL, 'largest_party', NULL
    ) || p_defaults || COALESCE(
        (SELECT rules FROM booking_rules WHERE store_id = p_store_id), '{}');
END $$;

COMMENT ON FUNCTION booking_rules_of IS
    'The house rules in force. p_defaults: time_zone, reminder_hours and booking_minutes (the '
    'length of a visit that no entry of visit_minutes covers), where the restaurant says nothing.';
