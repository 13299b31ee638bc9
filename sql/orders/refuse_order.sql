CREATE OR REPLACE FUNCTION refuse_order(p_store_id text, p_order orders)
RETURNS text LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN CASE
        WHEN p_order.order_id IS NOT NULL THEN NULL
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_order'
        ELSE 'unknown_store' END;
END $$;

COMMENT ON FUNCTION refuse_order IS
    'Why a caller may do nothing with an order, null if there is one.';
