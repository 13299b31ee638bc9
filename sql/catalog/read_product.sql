CREATE OR REPLACE FUNCTION read_product(
    p_store_id text, p_product_id text, p_with_inactive boolean,
    OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    document := describe_products(p_store_id, ARRAY[p_product_id]) -> 0;
    IF NOT (p_with_inactive OR (document -> 'is_active')::boolean) THEN
        document := NULL;
    END IF;
    result_code := CASE
        WHEN document IS NOT NULL THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_product'
        ELSE 'unknown_store' END;
END $$;

COMMENT ON FUNCTION read_product IS
    'A product; one that is not offered any more only with p_with_inactive. Codes: ok, '
    'unknown_product, unknown_store.';
