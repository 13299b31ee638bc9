CREATE OR REPLACE FUNCTION reservation_state(
    p_status reservation_status, p_expires_at timestamptz, p_at timestamptz
) RETURNS reservation_status
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN CASE WHEN p_status = 'held' AND p_expires_at <= p_at THEN 'expired' ELSE p_status END;
END $$;

COMMENT ON FUNCTION reservation_state IS
    'The state that a reservation is in at p_at: the one rule, for whoever reads or resolves it. '
    'p_status is the last that one of its lines has reached, max(status): a hold of which a line '
    'was reclaimed has expired, also under a clock that is behind; so has a hold past its time.';
