CREATE OR REPLACE FUNCTION create_supplied_products(
    p_store_id text, p_operations text[], p_line_operations int[],
    p_product_ids text[], p_quantities bigint[]
) RETURNS text[] LANGUAGE plpgsql SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_unknown text[];
    v_created text[];
BEGIN
    IF EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        SELECT array_agg(DISTINCT n.product_id) INTO v_unknown
        FROM movement_requests(
            p_store_id, p_operations, p_line_operations, p_product_ids, p_quantities, NULL) AS r
        CROSS JOIN unnest(r.product_ids, r.on_hand) AS n (product_id, on_hand)
        WHERE r.is_supply AND n.on_hand IS NULL;
    END IF;

    WITH created AS (
        INSERT INTO products (store_id, product_id)
        SELECT p_store_id, product_id FROM unnest(v_unknown) AS n (product_id)
        ORDER BY product_id COLLATE "C" ON CONFLICT DO NOTHING
        RETURNING product_id
    )
    SELECT array_agg(product_id) INTO v_created FROM created;
    RETURN v_created;
END $$;

COMMENT ON FUNCTION create_supplied_products IS
    'Give products that are supplied for the first time their rows, without a price and at zero; '
    'returns those that were created. What is only demanded is not.';
