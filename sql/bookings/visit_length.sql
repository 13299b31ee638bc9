CREATE OR REPLACE FUNCTION visit_length(p_rules jsonb, p_guests int)
RETURNS interval LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
    SELECT make_interval(mins => (
        SELECT (e.entry ->> 'minutes')::int
        FROM jsonb_array_elements(p_rules -> 'visit_minutes') AS e (entry)
        ORDER BY (e.entry ->> 'guests')::int < p_guests,
            CASE WHEN (e.entry ->> 'guests')::int < p_guests
                THEN -(e.entry ->> 'guests')::int ELSE (e.entry ->> 'guests')::int END
        LIMIT 1))
$$;

COMMENT ON FUNCTION visit_length IS
    'How long a visit of so many guests lasts by the house rules: the smallest entry of '
    'visit_minutes that the party fits into, else the largest.';
