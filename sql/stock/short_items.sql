CREATE OR REPLACE FUNCTION short_items(
    p_store_id text, p_product_ids text[], p_quantities bigint[],
    OUT result_code text, OUT refused_items jsonb
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT CASE WHEN count(*) > count(n.available) THEN 'unknown_product'
            WHEN count(*) > 0 THEN 'insufficient_stock' ELSE 'ok' END,
        jsonb_agg(jsonb_build_object('item_id', n.product_id, 'quantity', n.quantity,
            'available', n.available) ORDER BY n.product_id)
    INTO result_code, refused_items
    FROM (
        SELECT w.product_id COLLATE "C" AS product_id, w.quantity,
            s.on_hand - s.reserved AS available
        FROM unnest(p_product_ids, p_quantities) AS w (product_id, quantity)
        LEFT JOIN stock AS s ON s.store_id = p_store_id AND s.product_id = w.product_id
    ) AS n
    WHERE n.available IS NULL OR n.available < n.quantity;
END $$;

COMMENT ON FUNCTION short_items IS
    'Of what is wanted and locked, the items that there is not enough of. Codes: ok, '
    'unknown_product (there is none of one item, not even a row), insufficient_stock.';
