CREATE OR REPLACE FUNCTION order_state(
    p_status text, p_hold reservation_status, p_expires_at timestamptz, p_at timestamptz
) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN p_status = 'open' AND reservation_state(p_hold, p_expires_at, p_at) = 'expired'
            THEN 'expired'
        ELSE p_status END;
END $$;

COMMENT ON FUNCTION order_state IS
    'The state that an order is in at p_at: the one rule. p_hold is the last that a line of its '
    'hold has reached, max(status), p_expires_at when that lapses; both null where it has none.';
