CREATE OR REPLACE FUNCTION refuse_reservation(p_store_id text, p_reservation reservations)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN p_reservation.kind = 'order' THEN 'held_by_order'
        WHEN p_reservation.kind IS NOT NULL THEN NULL
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_reservation'
        ELSE 'unknown_store' END;
END $$;

COMMENT ON FUNCTION refuse_reservation IS
    'Why a caller may not resolve a reservation at all, whatever its status; null if it may.';
