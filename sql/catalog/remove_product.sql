CREATE OR REPLACE FUNCTION remove_product(
    p_store_id text, p_product_id text, p_actor text, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
DECLARE
    v_has_history boolean;
BEGIN
    -- Lock. Whoever would hold, stock or sell it waits for this row.
    PERFORM lock_stock(p_store_id, ARRAY[p_product_id]);

    -- Check.
    result_code := CASE
        WHEN EXISTS (
            SELECT FROM products WHERE store_id = p_store_id AND product_id = p_product_id
        ) THEN 'ok'
        WHEN EXISTS (SELECT FROM stores WHERE store_id = p_store_id) THEN 'unknown_product'
        ELSE 'unknown_store' END;
    IF result_code <> 'ok' THEN RETURN; END IF;
    v_has_history := EXISTS (  -- what was ever reserved had been stocked before
        SELECT FROM stock_movements WHERE store_id = p_store_id AND product_id = p_product_id
    ) OR EXISTS (
        SELECT FROM order_lines WHERE store_id = p_store_id AND product_id = p_product_id
    );

    -- Write.
    PERFORM set_change_context(p_actor);
    IF v_has_history THEN
        UPDATE products SET is_active = false
        WHERE store_id = p_store_id AND product_id = p_product_id AND is_active;
    ELSE
        DELETE FROM stock WHERE store_id = p_store_id AND product_id = p_product_id;
        DELETE FROM products WHERE store_id = p_store_id AND product_id = p_product_id;
    END IF;
    PERFORM set_change_context(NULL);
    document := jsonb_build_object('product_id', p_product_id, 'is_removed', NOT v_has_history);
END $$;

COMMENT ON FUNCTION remove_product IS
    'Remove a product, or, where it was ever stocked, held or sold, only offer it no more: '
    'is_removed tells which. Codes: ok, unknown_product, unknown_store.';
