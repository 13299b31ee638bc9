CREATE OR REPLACE FUNCTION utc_offset(p_at timestamptz, p_zone text) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT EXTRACT(epoch FROM (p_at AT TIME ZONE p_zone) - (p_at AT TIME ZONE 'UTC'))::int
$$;

COMMENT ON FUNCTION utc_offset IS
    'By how many seconds the clocks of a zone are ahead of UTC at a moment: for readers who do not '
    'know the zone.';
