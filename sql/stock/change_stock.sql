CREATE OR REPLACE FUNCTION change_stock(
    p_store_id text, p_operation text, p_product_ids text[], p_quantities bigint[],
    p_reference text, p_actor text,
    OUT result_code text, OUT document jsonb, OUT refused_items jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    SELECT m.result_code, m.document, m.document -> 'items'
    INTO result_code, document, refused_items
    FROM move_stock(
        p_store_id, p_operation, p_product_ids, p_quantities, p_reference, p_actor
    ) AS m;
END $$;

COMMENT ON FUNCTION change_stock IS
    'move_stock() as services of the release before call it, until the next release. Codes: ok, '
    'insufficient_stock, unknown_product, unknown_store, invalid_request.';
