CREATE OR REPLACE FUNCTION taken_tables(
    p_store_id text, p_starts_at timestamptz, p_ends_at timestamptz, p_rules jsonb,
    p_now timestamptz
) RETURNS bigint[] LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_buffer interval := make_interval(mins => (p_rules ->> 'buffer_minutes')::int);
    v_wide tstzrange := tstzrange(p_starts_at - v_buffer, p_ends_at + v_buffer);
BEGIN
    RETURN ARRAY(
        SELECT b.table_id FROM bookings AS b
        WHERE b.store_id = p_store_id AND b.status IN ('confirmed', 'seated')
            AND b.during && v_wide
        UNION
        SELECT b.table_id FROM bookings AS b
        WHERE b.store_id = p_store_id AND b.status = 'seated'
            AND tstzrange(b.starts_at, p_now, '[]') && v_wide
    );
END $$;

COMMENT ON FUNCTION taken_tables IS
    'The tables of a restaurant that somebody has at some moment of a time, or so close to it '
    'that the buffer is in the way.';
