CREATE OR REPLACE FUNCTION describe_products(p_store_id text, p_product_ids text[])
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- LATERAL looks each product up by its key, also while no statistics tell the planner to.
    RETURN (
        SELECT COALESCE(jsonb_agg(jsonb_build_object(
            'product_id', l.product_id,
            'name', l.name,
            'price', l.price,
            'is_active', l.is_active,
            'available', l.available,
            'category_id', l.category_id,
            'low_at', l.low_at
        ) ORDER BY l.product_id), '[]')
        FROM unnest(p_product_ids) AS w (product_id) CROSS JOIN LATERAL (
            SELECT * FROM stock_levels AS s
            WHERE s.store_id = p_store_id AND s.product_id = w.product_id LIMIT 1
        ) AS l
    );
END $$;

COMMENT ON FUNCTION describe_products IS
    'Products by id as callers see them, an array, each with what the next caller can have of it; '
    'those that there are none of are left out.';
