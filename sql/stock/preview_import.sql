CREATE OR REPLACE FUNCTION preview_import(
    p_store_id text, p_add boolean, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SET search_path = holdfast, pg_temp AS $$
BEGIN
    result_code := 'ok';
    SELECT jsonb_build_object(
        'new', count(*) FILTER (WHERE s.product_id IS NULL),
        'changed', count(*) FILTER (WHERE l.quantity::bigint <>
            CASE WHEN p_add THEN 0 ELSE COALESCE(s.on_hand, 0) END))
    INTO document
    FROM import_lines AS l
    LEFT JOIN stock AS s ON s.store_id = p_store_id AND s.product_id = l.product_id
    WHERE l.store_id = p_store_id;
END $$;

COMMENT ON FUNCTION preview_import IS
    'What writing the lines of import_lines, which were checked, would do: how many products are '
    'new, how many counts change. For the owner. Codes: ok.';
