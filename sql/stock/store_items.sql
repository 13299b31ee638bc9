CREATE OR REPLACE FUNCTION store_items(p_store_id text, p_product_ids text[] DEFAULT NULL)
RETURNS TABLE (
    result_code text, item_id text, item_name text,
    quantity bigint, reserved bigint, available bigint
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM list_stock(p_store_id, p_product_ids);
END $$;

COMMENT ON FUNCTION store_items IS
    'list_stock() as services of the release before call it, until the next release.';
