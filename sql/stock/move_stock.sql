CREATE OR REPLACE FUNCTION move_stock(
    p_store_id text, p_operation text, p_product_ids text[], p_quantities bigint[],
    p_reference text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT m.result_codes[1], m.documents[1] INTO result_code, document
    FROM move_stock_batch(p_store_id, ARRAY[p_operation], ARRAY[p_reference], ARRAY[p_actor],
        ARRAY(SELECT 1 FROM unnest(p_product_ids, p_quantities)),
        p_product_ids, p_quantities) AS m;
END $$;

COMMENT ON FUNCTION move_stock IS
    'Bring products in (supply; unknown ones are created) or take them out (demand), all or none, '
    'repeated ones summed: move_stock_batch for one operation, whose document and codes it has. '
    'Codes: ok, insufficient_stock, unknown_product, unknown_store, invalid_request. '
    'SELECT * FROM move_stock(''main'', ''supply'', ''{tea}'', ''{12}'', ''delivery 7'', ''me'')';
