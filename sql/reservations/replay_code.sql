CREATE OR REPLACE FUNCTION replay_code(
    p_is_same boolean, p_status reservation_status, p_expires_at timestamptz, p_at timestamptz
) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN p_is_same IS NOT TRUE THEN 'reservation_id_reused'
        WHEN reservation_state(p_status, p_expires_at, p_at) IN ('held', 'committed')
            THEN 'already_reserved'
        ELSE 'reservation_closed' END;
END $$;

COMMENT ON FUNCTION replay_code IS
    'What a request is answered whose id is known: p_is_same says whether kind, lifetime and lines '
    'are as they were first asked; the rest as for reservation_state().';
