CREATE OR REPLACE FUNCTION reserve_stock(
    p_store_id text, p_reservation_id text, p_product_id text, p_quantity bigint,
    p_requested_at timestamptz DEFAULT NULL, p_ttl interval DEFAULT NULL,
    OUT result_code text, OUT refused_lines jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT * INTO result_code, refused_lines FROM reserve_stock_batch(
        p_store_id, ARRAY[p_reservation_id], ARRAY[p_requested_at], ARRAY[p_ttl],
        NULL, ARRAY[p_product_id], ARRAY[p_quantity]);
END $$;

COMMENT ON FUNCTION reserve_stock IS
    'Reserve units of one product: reserve_stock_batch for one request of one line. '
    'SELECT * FROM reserve_stock(''main'', ''1001'', ''42'', 3);';
