CREATE OR REPLACE FUNCTION release_lines(p_store_id text, p_reservation_id text, p_actor text)
RETURNS void LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    PERFORM set_change_context(p_actor, 'release', p_reservation_id);
    WITH freed AS (
        UPDATE reservations SET status = 'released',
            closed_at = v_now, closed_by = COALESCE(p_actor, session_user)
        WHERE store_id = p_store_id AND reservation_id = p_reservation_id AND status = 'held'
        RETURNING product_id, quantity
    )
    UPDATE stock AS s SET reserved = s.reserved - f.quantity
    FROM freed AS f WHERE s.store_id = p_store_id AND s.product_id = f.product_id;
    PERFORM set_change_context(NULL);
END $$;

COMMENT ON FUNCTION release_lines IS
    'Give the units of a held reservation, locked with its stock, back.';
