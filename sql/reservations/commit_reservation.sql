CREATE OR REPLACE FUNCTION commit_reservation(
    p_store_id text, p_reservation_id text, p_actor text DEFAULT NULL,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
    v_reservation reservations;
BEGIN
    -- Lock.
    v_reservation := lock_reservation(p_store_id, p_reservation_id);

    -- Check.
    result_code := COALESCE(refuse_reservation(p_store_id, v_reservation), CASE
        WHEN v_reservation.status = 'held' THEN 'ok'
        WHEN v_reservation.status = 'committed' THEN 'already_committed'
        ELSE 'reservation_closed' END);
    IF result_code NOT IN ('ok', 'already_committed') THEN RETURN; END IF;

    -- Write. The goods leave: what was promised is no longer on hand.
    IF result_code = 'ok' THEN
        PERFORM commit_lines(p_store_id, p_reservation_id, p_actor);
    END IF;
    document := reservation_document(p_store_id, p_reservation_id);
END $$;

COMMENT ON FUNCTION commit_reservation IS
    'The goods of a held reservation leave the store, exactly once: on_hand falls, and the ledger '
    'says for which reservation. Codes: ok, already_committed, reservation_closed, held_by_order, '
    'unknown_reservation, unknown_store.';
