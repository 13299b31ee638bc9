CREATE OR REPLACE FUNCTION list_products(
    p_store_id text, p_search text, p_with_inactive boolean, p_after text, p_limit int,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN
        result_code := 'unknown_store';
        RETURN;
    END IF;

    result_code := 'ok';
    SELECT jsonb_build_object(
        'products', COALESCE(
            jsonb_agg(product_document(p_store_id, p.product_id) ORDER BY p.product_id), '[]'),
        'next', CASE WHEN count(*) = p_limit THEN max(p.product_id) END)
    INTO document
    FROM (
        SELECT product_id FROM products
        WHERE store_id = p_store_id AND product_id > COALESCE(p_after, '') COLLATE "C"
            AND (is_active OR p_with_inactive)
            AND (p_search IS NULL OR strpos(lower(name), lower(p_search)) > 0
                OR strpos(lower(product_id), lower(p_search)) > 0)
        ORDER BY product_id LIMIT p_limit
    ) AS p;
END $$;

COMMENT ON FUNCTION list_products IS
    'Products of a store by id, at most p_limit after p_after, with p_search in name or id '
    'whatever the case of its letters; those not offered any more only with p_with_inactive. next '
    'is the p_after of the page that follows, or null. Codes: ok, unknown_store.';
