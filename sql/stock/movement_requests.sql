CREATE OR REPLACE FUNCTION movement_requests(
    p_store_id text, p_operations text[], p_line_operations int[],
    p_product_ids text[], p_quantities bigint[], p_created text[]
) RETURNS TABLE (
    number int, is_supply boolean, products int[], product_ids text[], quantities bigint[],
    on_hand bigint[], reserved bigint[]
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH lines AS (
        SELECT l.number, l.product_id, sum(l.quantity)::bigint AS quantity,
            count(*) AS line_count,
            bool_and(COALESCE(l.quantity BETWEEN 1 AND 2147483647, false))
                AND COALESCE(l.product_id <> '', false) AS is_valid
        FROM unnest(p_line_operations, p_product_ids, p_quantities)
            AS l (number, product_id, quantity)
        GROUP BY 1, 2
    ), placed AS (
        -- LATERAL with LIMIT looks rows up by their key, also while no statistics tell to.
        SELECT l.*, s.on_hand, COALESCE(s.reserved, 0) AS reserved,
            dense_rank() OVER (ORDER BY l.product_id COLLATE "C")::int AS product
        FROM lines AS l
        LEFT JOIN LATERAL (
            SELECT k.on_hand, k.reserved FROM stock AS k
            WHERE k.store_id = p_store_id AND k.product_id = l.product_id LIMIT 1
        ) AS s ON l.product_id <> ALL (COALESCE(p_created, '{}'))
    )
    SELECT p.number, p_operations[p.number] = 'supply', array_agg(p.product ORDER BY p.product),
        array_agg(p.product_id ORDER BY p.product), array_agg(p.quantity ORDER BY p.product),
        array_agg(p.on_hand ORDER BY p.product), array_agg(p.reserved ORDER BY p.product)
    FROM placed AS p
    GROUP BY p.number
    HAVING bool_and(p.is_valid) AND sum(p.line_count) <= 1000
        AND p_operations[p.number] IN ('supply', 'demand')
    ORDER BY p.number;
END $$;

COMMENT ON FUNCTION movement_requests IS
    'Many supplies and demands, one row each in arrival order, their lines of one product summed '
    'and set beside its stock: on_hand is null where the store had no such product before, of '
    'which p_created were created meanwhile. Invalid ones are left out.';
