CREATE OR REPLACE FUNCTION held_products(
    p_store_id text, p_product_ids text[], OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    -- LATERAL looks each row up by its key, as in lock_stock. Nobody is waited for.
    SELECT 'ok', COALESCE(jsonb_agg(s.product_id), '[]') INTO result_code, document
    FROM unnest(p_product_ids) AS n (id)
    CROSS JOIN LATERAL (
        SELECT s.product_id FROM stock AS s
        WHERE s.store_id = p_store_id AND s.product_id = n.id
    ) AS s
    LEFT JOIN LATERAL (
        SELECT true AS is_free FROM stock AS f
        WHERE f.store_id = p_store_id AND f.product_id = n.id FOR NO KEY UPDATE SKIP LOCKED
    ) AS f ON true
    WHERE f.is_free IS NULL;
END $$;

COMMENT ON FUNCTION held_products IS
    'Those of the products whose stock rows another transaction holds at this moment, as a JSON '
    'array of ids: who wants to reserve them would wait.';
