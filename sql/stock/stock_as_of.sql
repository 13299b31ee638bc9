CREATE OR REPLACE FUNCTION stock_as_of(p_store_id text, p_at timestamptz)
RETURNS TABLE (product_id text, on_hand bigint, reserved bigint, available bigint)
LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM list_past_stock(p_store_id, p_at);
END $$;

COMMENT ON FUNCTION stock_as_of IS
    'What a store had of each product at a moment, from the ledger and the reservations of that '
    'time; products at zero are left out. '
    'SELECT * FROM stock_as_of(''main'', ''2026-11-21T10:00Z'');';
