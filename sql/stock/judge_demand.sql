CREATE OR REPLACE FUNCTION judge_demand(
    p_store_id text, p_product_ids text[], p_quantities bigint[],
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT CASE WHEN count(*) > count(n.available) THEN 'unknown_product'
            WHEN count(*) > 0 THEN 'insufficient_stock' ELSE 'ok' END,
        jsonb_agg(jsonb_build_object(
            'item_id', n.product_id, 'quantity', n.quantity, 'available', n.available
        ) ORDER BY n.available IS NOT NULL, n.product_id)
    INTO result_code, document
    FROM (
        SELECT w.product_id COLLATE "C" AS product_id, w.quantity,
            s.on_hand - s.reserved AS available
        FROM unnest(p_product_ids, p_quantities) AS w (product_id, quantity)
        LEFT JOIN stock AS s ON s.store_id = p_store_id AND s.product_id = w.product_id
    ) AS n
    WHERE n.available IS NULL OR n.available < n.quantity;
    IF result_code <> 'ok' THEN
        document := document -> 0 || jsonb_build_object('items', document);
    END IF;
END $$;

COMMENT ON FUNCTION judge_demand IS
    'Whether there is enough of each product that is wanted and locked. The document of a refusal '
    'has every item in the way, and the first of them by itself. Codes: ok, unknown_product (of '
    'one there is not even a row), insufficient_stock.';
