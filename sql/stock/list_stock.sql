CREATE OR REPLACE FUNCTION list_stock(
    p_store_id text, p_product_ids text[] DEFAULT NULL, p_at timestamptz DEFAULT NULL,
    p_after text DEFAULT '', p_limit bigint DEFAULT NULL
) RETURNS TABLE (
    result_code text, product_id text, name text, on_hand bigint, reserved bigint, available bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN NEXT;
    ELSIF p_at IS NOT NULL THEN
        RETURN QUERY
        SELECT 'ok', s.product_id, '', s.on_hand, s.reserved, s.available
        FROM list_past_stock(p_store_id, p_at, p_after, p_limit) AS s;
    ELSIF p_product_ids IS NULL AND p_limit <= 1001 THEN
        -- A page, and one more to tell whether another follows: its ids first, then each row by its
        -- key. A merge join would read all products up to there: 540 ms of a million, for 40.
        RETURN QUERY
        SELECT 'ok', l.product_id, l.name, l.on_hand, l.reserved, l.available
        FROM (
            SELECT s.product_id FROM stock AS s
            WHERE s.store_id = p_store_id AND s.product_id > p_after COLLATE "C" AND s.on_hand <> 0
            ORDER BY s.product_id LIMIT p_limit
        ) AS n
        CROSS JOIN LATERAL (
            SELECT v.* FROM stock_levels AS v
            WHERE v.store_id = p_store_id AND v.product_id = n.product_id LIMIT 1
        ) AS l
        ORDER BY l.product_id;
    ELSIF p_product_ids IS NULL THEN
        RETURN QUERY
        SELECT 'ok', l.product_id, l.name, l.on_hand, l.reserved, l.available
        FROM stock_levels AS l
        WHERE l.store_id = p_store_id AND l.product_id > p_after COLLATE "C" AND l.on_hand <> 0
        ORDER BY l.product_id LIMIT p_limit;
    ELSE
        RETURN QUERY
        SELECT 'ok', l.product_id, l.name, l.on_hand, l.reserved, l.available
        FROM stock_levels AS l
        WHERE l.store_id = p_store_id AND l.product_id = ANY (p_product_ids)
        ORDER BY l.product_id;
    END IF;
END $$;

COMMENT ON FUNCTION list_stock IS
    'What a store has of each product, by id: of those named, at zero too, or of all that are not '
    'at zero, at most p_limit after p_after; p_at: what it had then, without names. Lapsed holds '
    'do not count. Each row says ok; one row of a code alone: unknown_store.';
