CREATE OR REPLACE FUNCTION table_conflict(
    p_store_id text, p_table_id bigint, p_starts_at timestamptz, p_ends_at timestamptz,
    p_buffer interval, p_now timestamptz, p_except bigint
) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_wanted tstzrange := tstzrange(p_starts_at, p_ends_at);
    v_wide tstzrange := tstzrange(p_starts_at - p_buffer, p_ends_at + p_buffer);
BEGIN
    -- Who sits past the end of their time keeps the table now, and nobody knows for how long.
    RETURN (
        SELECT CASE WHEN h.held && v_wanted THEN '{"rule": "overlap"}'::jsonb
            ELSE '{"rule": "buffer"}' END || jsonb_build_object('taken_by', h.booking_id)
        FROM (
            SELECT b.booking_id, CASE WHEN b.status = 'seated' AND b.ends_at <= p_now
                THEN tstzrange(b.starts_at, p_now, '[]') ELSE b.during END AS held
            FROM bookings AS b
            WHERE b.store_id = p_store_id AND b.table_id = p_table_id
                AND b.status IN ('confirmed', 'seated')
                AND b.booking_id IS DISTINCT FROM p_except
                AND (b.during && v_wide OR b.status = 'seated')
        ) AS h
        WHERE h.held && v_wide
        ORDER BY h.held && v_wanted DESC, h.booking_id LIMIT 1
    );
END $$;

COMMENT ON FUNCTION table_conflict IS
    'What is in the way of having a table for a time, as {"rule", "taken_by"}: overlap with a '
    'confirmed or seated booking, or one that is closer than the buffer; null: nothing. The '
    'caller has locked the table.';
