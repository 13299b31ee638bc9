CREATE OR REPLACE FUNCTION read_order(
    p_store_id text, p_order_id text, p_user_id bigint, OUT result_code text, OUT document jsonb
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = holdfast, pg_temp AS $$
BEGIN
    PERFORM FROM orders
    WHERE store_id = p_store_id AND order_id = p_order_id
        AND (p_user_id IS NULL OR user_id = p_user_id);
    result_code := CASE WHEN FOUND THEN 'ok' ELSE 'unknown_order' END;
    IF FOUND THEN
        document := order_document(p_store_id, p_order_id);
    END IF;
END $$;

COMMENT ON FUNCTION read_order IS
    'An order with its lines. p_user_id: only this user''s own; null: anybody''s. Codes: ok, '
    'unknown_order.';
