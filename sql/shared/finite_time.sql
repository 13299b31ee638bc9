CREATE OR REPLACE FUNCTION finite_time(p_at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN CASE p_at
        WHEN 'infinity' THEN timestamptz '9999-12-31 23:59:59.999999Z'
        WHEN '-infinity' THEN timestamptz '0001-01-01 00:00:00Z'
        ELSE p_at END;
END $$;

COMMENT ON FUNCTION finite_time IS
    'A moment as the caller gave it: the driver turns the first and the last that it knows, which '
    'is how some write "no time", into infinities.';
