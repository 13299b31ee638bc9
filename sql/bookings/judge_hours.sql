CREATE OR REPLACE FUNCTION judge_hours(
    p_rules jsonb, p_starts_at timestamptz, p_ends_at timestamptz
) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_zone text := p_rules ->> 'time_zone';
    v_local date := (p_starts_at AT TIME ZONE v_zone)::date;
    v_day date;
    v_span jsonb;
    v_opens time;
    v_closes time;
    v_is_closed boolean := false;
BEGIN
    IF jsonb_typeof(p_rules -> 'hours') IS DISTINCT FROM 'object' THEN
        RETURN CASE WHEN p_rules -> 'closed_days' ? v_local::text
            THEN '{"rule": "closed_day"}'::jsonb END;
    END IF;

    -- A span belongs to the day it opens, and may end on the next one.
    FOREACH v_day IN ARRAY ARRAY[v_local - 1, v_local] LOOP
        FOR v_span IN SELECT jsonb_array_elements(
            COALESCE(p_rules -> 'hours' -> lower(to_char(v_day, 'Dy')), '[]'))
        LOOP
            v_opens := (v_span ->> 0)::time;
            v_closes := (v_span ->> 1)::time;
            IF p_starts_at >= (v_day + v_opens) AT TIME ZONE v_zone
                AND COALESCE(p_ends_at, p_starts_at) <=
                    (v_day + (v_closes <= v_opens)::int + v_closes) AT TIME ZONE v_zone
            THEN
                v_is_closed := p_rules -> 'closed_days' ? v_day::text;
                IF NOT v_is_closed THEN RETURN NULL; END IF;
            END IF;
        END LOOP;
    END LOOP;
    RETURN CASE WHEN v_is_closed OR p_rules -> 'closed_days' ? v_local::text
        THEN '{"rule": "closed_day"}'::jsonb ELSE '{"rule": "hours"}' END;
END $$;

COMMENT ON FUNCTION judge_hours IS
    'Whether a visit lies within one span of the opening hours, by the restaurant''s own clocks: '
    'null, or the rule that is broken, closed_day or hours.';
