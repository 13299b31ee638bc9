CREATE OR REPLACE FUNCTION refusal_document(
    p_result_code text, p_is_hold boolean, p_lines jsonb, p_max_lifetime interval
) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_seconds bigint := EXTRACT(epoch FROM p_max_lifetime)::bigint;
BEGIN
    RETURN CASE
        WHEN p_result_code = 'lifetime_too_long'
            THEN jsonb_build_object('longest_seconds', v_seconds)
        WHEN p_result_code IN ('insufficient_stock', 'unknown_product') AND p_is_hold
            THEN p_lines -> 0 || jsonb_build_object('lines', p_lines)
        WHEN p_result_code = 'insufficient_stock' THEN p_lines -> 0 END;
END $$;

COMMENT ON FUNCTION refusal_document IS
    'The facts of a refused request: of p_lines, those in the way, the first, and for a hold, '
    'which may have several, all; or how long a hold may live.';
