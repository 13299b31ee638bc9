CREATE OR REPLACE FUNCTION reserve_stock(
    p_store_id text, p_reservation_id text, p_product_id text, p_quantity bigint,
    p_requested_at timestamptz DEFAULT NULL, p_ttl interval DEFAULT NULL,
    p_actor text DEFAULT NULL, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT r.result_codes[1], r.documents[1] INTO result_code, document
    FROM reserve_stock_batch(p_store_id, ARRAY[p_reservation_id], ARRAY[p_actor],
        ARRAY[p_requested_at], ARRAY[p_ttl], NULL, NULL, ARRAY[p_product_id], ARRAY[p_quantity]
    ) AS r;
END $$;

COMMENT ON FUNCTION reserve_stock IS
    'Reserve units of one product: reserve_stock_batch for one request of one line. '
    'SELECT * FROM reserve_stock(''main'', ''1001'', ''42'', 3);';
