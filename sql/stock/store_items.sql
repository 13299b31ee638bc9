CREATE OR REPLACE FUNCTION store_items(p_store_id text, p_product_ids text[] DEFAULT NULL)
RETURNS TABLE (
    result_code text, item_id text, item_name text,
    quantity bigint, reserved bigint, available bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN NEXT;
        RETURN;
    END IF;

    RETURN QUERY
    SELECT 'ok', l.product_id, l.name, l.on_hand, l.reserved, l.available
    FROM stock_levels AS l
    WHERE l.store_id = p_store_id AND (
        l.product_id = ANY (p_product_ids) OR (p_product_ids IS NULL AND l.on_hand <> 0)
    )
    ORDER BY l.product_id;
END $$;

COMMENT ON FUNCTION store_items IS
    'What a store has of each item, by id: of all that are not at zero, or of those named, '
    'at zero too. Lapsed holds do not count. Each row says ok; one row of a code alone: '
    'unknown_store.';
