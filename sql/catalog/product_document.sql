CREATE OR REPLACE FUNCTION product_document(p_store_id text, p_product_id text)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN (
        SELECT jsonb_build_object(
            'product_id', p.product_id,
            'name', p.name,
            'price', p.price,
            'is_active', p.is_active,
            'available', COALESCE((
                SELECT l.available FROM stock_levels AS l
                WHERE l.store_id = p.store_id AND l.product_id = p.product_id
            ), 0)
        )
        FROM products AS p
        WHERE p.store_id = p_store_id AND p.product_id = p_product_id
    );
END $$;

COMMENT ON FUNCTION product_document IS
    'A product as callers see it, with what the next of them can have; null where there is none.';
