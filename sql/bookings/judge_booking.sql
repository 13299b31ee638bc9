CREATE OR REPLACE FUNCTION judge_booking(
    p_rules jsonb, p_starts_at timestamptz, p_ends_at timestamptz, p_guests int, p_seats int,
    p_now timestamptz, p_longest interval DEFAULT NULL
) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_zone text := p_rules ->> 'time_zone';
BEGIN
    RETURN CASE
        WHEN p_starts_at < p_now THEN '{"rule": "past"}'::jsonb
        WHEN p_starts_at < p_now + make_interval(mins => (p_rules ->> 'notice_minutes')::int)
            THEN '{"rule": "notice"}'
        WHEN (p_starts_at AT TIME ZONE v_zone)::date
            > (p_now AT TIME ZONE v_zone)::date + (p_rules ->> 'days_ahead')::int
            THEN '{"rule": "days_ahead"}'
        WHEN judge_hours(p_rules, p_starts_at, p_ends_at) IS NOT NULL
            THEN judge_hours(p_rules, p_starts_at, p_ends_at)
        WHEN p_ends_at - p_starts_at > p_longest THEN '{"rule": "length"}'
        WHEN p_guests > (p_rules ->> 'largest_party')::int THEN '{"rule": "party"}'
        WHEN p_guests > p_seats THEN '{"rule": "seats"}'
    END;
END $$;

COMMENT ON FUNCTION judge_booking IS
    'The house rule that a visit breaks, as {"rule"}, the first of: past, notice, days_ahead, '
    'closed_day, hours, length, party, seats; null: none. p_longest: how long a guest may ask '
    'for.';
