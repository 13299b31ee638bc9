CREATE OR REPLACE FUNCTION extend_reservation(
    p_store_id text, p_reservation_id text, p_ttl interval, p_max_lifetime interval,
    p_actor text DEFAULT NULL, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    v_reservation reservations;
    v_wanted timestamptz;
    v_latest timestamptz;
    v_expires_at timestamptz;
BEGIN
    -- Lock.
    v_reservation := lock_reservation(p_store_id, p_reservation_id);
    v_wanted := clock_timestamp() + p_ttl;
    v_latest := v_reservation.created_at + p_max_lifetime;

    -- Check.
    result_code := COALESCE(refuse_reservation(p_store_id, v_reservation), CASE
        WHEN NOT COALESCE(p_ttl > interval '0' AND p_max_lifetime > interval '0', false)
            THEN 'invalid_request'
        WHEN v_reservation.status <> 'held' THEN 'reservation_closed'
        WHEN v_reservation.expires_at IS NULL THEN 'no_expiry'
        ELSE 'ok' END);
    IF result_code <> 'ok' THEN RETURN; END IF;

    -- Write. Never shorter than it was, never longer than a hold may live.
    v_expires_at := GREATEST(v_reservation.expires_at, LEAST(v_wanted, v_latest));
    PERFORM set_change_context(p_actor, 'extend', p_reservation_id);
    UPDATE reservations SET expires_at = v_expires_at,
        extended_by = COALESCE(p_actor, session_user)
    WHERE store_id = p_store_id AND reservation_id = p_reservation_id;
    PERFORM set_change_context(NULL);
    document := reservation_document(p_store_id, p_reservation_id)
        || jsonb_build_object('is_shortened', v_expires_at < v_wanted);
END $$;

COMMENT ON FUNCTION extend_reservation IS
    'Let a held reservation live for p_ttl from now, never shorter than it was, at most '
    'p_max_lifetime from its making; is_shortened says that this came before p_ttl was over. '
    'Codes: ok, no_expiry (it never lapses), reservation_closed, held_by_order, '
    'unknown_reservation, unknown_store, invalid_request.';
