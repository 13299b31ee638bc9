CREATE OR REPLACE FUNCTION booking_state(
    p_status text, p_starts_at timestamptz, p_ends_at timestamptz, p_now timestamptz
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT CASE WHEN p_status = 'pending'
        AND COALESCE(p_ends_at, p_starts_at + interval '24 hours') <= p_now
        THEN 'declined' ELSE p_status END
$$;

COMMENT ON FUNCTION booking_state IS
    'What state a booking is in at a moment: a pending one whose time is over has lapsed, which '
    'reads declined, whether the sweeper has written it down yet or not. An open-ended one lapses '
    'a day after its start.';
