CREATE OR REPLACE FUNCTION check_callers(
    p_store_id text, p_session_ids bigint[], p_expires_at timestamptz[], p_key_ids bigint[],
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_sessions jsonb;
    v_keys jsonb;
BEGIN
    SELECT jsonb_agg(found.session_id IS NOT NULL ORDER BY asked.number) INTO v_sessions
    FROM unnest(p_session_ids, p_expires_at) WITH ORDINALITY
        AS asked (session_id, expires_at, number)
    LEFT JOIN LATERAL (
        SELECT s.session_id FROM open_sessions AS s
        WHERE s.store_id = p_store_id AND s.session_id = asked.session_id
        LIMIT 1
    ) AS found ON asked.expires_at > v_now;

    SELECT jsonb_agg(found.key_id IS NOT NULL ORDER BY asked.number) INTO v_keys
    FROM unnest(p_key_ids) WITH ORDINALITY AS asked (key_id, number)
    LEFT JOIN LATERAL (
        SELECT k.key_id FROM api_keys AS k
        WHERE k.store_id = p_store_id AND k.key_id = asked.key_id AND k.revoked_at IS NULL
            AND COALESCE(k.expires_at, 'infinity') > v_now
        LIMIT 1
    ) AS found ON true;

    result_code := 'ok';
    document := jsonb_build_object(
        'sessions', COALESCE(v_sessions, '[]'), 'keys', COALESCE(v_keys, '[]'));
END $$;

COMMENT ON FUNCTION check_callers IS
    'Which of these sessions, by tokens of such an expiry, and of these keys are still good, in '
    'the order asked. A refresh ends no session: what was opened with the token before lives on '
    'until that would have expired. Code: ok.';
