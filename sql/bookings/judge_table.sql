CREATE OR REPLACE FUNCTION judge_table(
    p_store_id text, p_table_id bigint, p_starts_at timestamptz, p_ends_at timestamptz,
    p_rules jsonb, p_override boolean, p_now timestamptz, p_except bigint
) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_is_open boolean;
    v_conflict jsonb;
BEGIN
    SELECT is_open INTO v_is_open FROM dining_tables
    WHERE store_id = p_store_id AND table_id = p_table_id;

    v_conflict := table_conflict(p_store_id, p_table_id, p_starts_at, p_ends_at,
        make_interval(mins => CASE WHEN p_override THEN 0
            ELSE (p_rules ->> 'buffer_minutes')::int END), p_now, p_except);
    RETURN CASE
        WHEN v_conflict IS NOT NULL THEN '{"code": "table_taken"}' || v_conflict
        WHEN NOT v_is_open AND NOT p_override THEN '{"code": "table_closed"}'::jsonb
    END;
END $$;

COMMENT ON FUNCTION judge_table IS
    'What keeps a booking from having a locked table for a time, as a document with its code: '
    'table_taken (rule overlap or buffer, taken_by: which booking), table_closed; null where '
    'nothing does.';
