CREATE OR REPLACE FUNCTION rfc3339(p_at timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
        || rtrim(rtrim(to_char(p_at AT TIME ZONE 'UTC', '.US'), '0'), '.') || 'Z'
$$;

COMMENT ON FUNCTION rfc3339 IS
    'A moment as RFC 3339 text in UTC, with a fraction only where there is one.';
