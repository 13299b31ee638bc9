CREATE OR REPLACE FUNCTION booking_rules_of(p_store_id text, p_defaults jsonb)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_everybody jsonb := jsonb_build_object(
        'guests', 10000, 'minutes', p_defaults -> 'booking_minutes');
    v_rules jsonb := jsonb_build_object(
        'hours', NULL, 'closed_days', '[]'::jsonb, 'visit_minutes', '[]'::jsonb,
        'buffer_minutes', 0, 'notice_minutes', 0, 'days_ahead', NULL, 'largest_party', NULL
    ) || (p_defaults - 'booking_minutes') || COALESCE(
        (SELECT rules FROM booking_rules WHERE store_id = p_store_id), '{}');
BEGIN
    RETURN CASE v_rules -> 'visit_minutes' WHEN '[]'
        THEN jsonb_set(v_rules, '{visit_minutes}', jsonb_build_array(v_everybody))
        ELSE v_rules END;
END $$;

COMMENT ON FUNCTION booking_rules_of IS
    'The house rules in force, as set_booking_rules takes them. p_defaults: time_zone, '
    'reminder_hours and booking_minutes (how long everybody''s visit lasts), where the restaurant '
    'says nothing.';
